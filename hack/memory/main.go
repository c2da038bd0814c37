// Command memory measures by how much the operator grows when its namespaces fill with Secrets that no cluster names.
//
// It runs bin/operator with a few clusters beside an API server (KUBEBUILDER_ASSETS), takes samples of its memory at rest,
// makes the Secrets, waits until the operator's watch has passed them, and takes samples again. Then it starts the operator
// anew, which lists them all at once. It fails when either has grown by more than the limit.
//
// What counts is the anonymous resident memory of the process: the working set, as a kubelet counts it, has no file pages
// of programs either, once they are idle. The heap that Go has in use is printed beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"pgtls.dev/pgtls/hack/beside"
)

const (
	secretCount = 5000
	secretBytes = 10_000
	growthLimit = 10_000_000
	timeLimit   = 3 * time.Minute // for everything but the API server's start
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	server := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("config", "crd")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: timeLimit,
	}
	config, err := server.Start()
	defer func() { err = errors.Join(err, server.Stop()) }()
	if err != nil {
		return fmt.Errorf("starting an API server: %w", err)
	}
	config.QPS = -1 // as fast as the API server takes them
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	admin, err := server.AddUser(envtest.User{Name: "operator", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return fmt.Errorf("making the operator's user: %w", err)
	}
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return fmt.Errorf("making a kubeconfig: %w", err)
	}
	world, err := newWorld(config)
	if err != nil {
		return err
	}
	return measure(ctx, world, kubeconfig)
}

func measure(ctx context.Context, w world, kubeconfig []byte) error {
	if err := w.makeClusters(ctx); err != nil {
		return err
	}
	without, err := withOperator(ctx, w, kubeconfig, "a")
	if err != nil {
		return err
	}
	defer without.Stop()
	before, err := without.AtRest(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.makeSecrets(ctx); err != nil {
		return err
	}
	fmt.Printf("memory: %d Secrets of %d bytes made in %.0fs\n", secretCount, secretBytes, time.Since(began).Seconds())
	if err := w.waitForWatch(ctx, "b"); err != nil {
		return err
	}
	after, err := without.AtRest(ctx)
	if err != nil {
		return err
	}
	without.Stop()
	anew, err := withOperator(ctx, w, kubeconfig, "c")
	if err != nil {
		return err
	}
	defer anew.Stop()
	restarted, err := anew.AtRest(ctx)
	if err != nil {
		return err
	}
	return errors.Join(judge("by its watch", before, after), judge("started anew", before, restarted))
}

// withOperator starts the operator and waits until it has answered something.
func withOperator(ctx context.Context, w world, kubeconfig []byte, mark string) (*beside.Operator, error) {
	o, err := beside.Start(kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := w.waitForWatch(ctx, mark); err != nil {
		o.Stop()
		return nil, fmt.Errorf("%w; the operator's log:\n%s", err, o.Log())
	}
	return o, nil
}

func judge(how string, before, after beside.Sample) error {
	fmt.Printf("memory: secrets=%d %s: before=%s after=%s growth=%s; heap before=%s after=%s growth=%s\n", secretCount, how,
		megabytes(before.Resident), megabytes(after.Resident), megabytes(after.Resident-before.Resident),
		megabytes(before.Heap), megabytes(after.Heap), megabytes(after.Heap-before.Heap))
	if growth := after.Resident - before.Resident; growth > growthLimit {
		return fmt.Errorf("%s: it has grown by %s, more than %s", how, megabytes(growth), megabytes(growthLimit))
	}
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1fMB", float64(n)/1e6) }
