// Command fleet measures what an operator costs as the number of its clusters grows.
//
// It makes 10, 100 and 1,000 clusters of 2 instances and 2 poolers in one namespace, beside an API server (KUBEBUILDER_ASSETS)
// without pods, starts bin/operator, and waits until each cluster has all that it can have without a pod. It prints a line for each
// number of clusters, and one of what the operator does at rest afterwards:
//
//	fleet: clusters=100 settle=20s cpu=3.9s memory=40MB requestsPerCluster=24 listsPerCluster=1.0
//	fleet: clusters=100 rest cpu=0.2% writes=0
//
// Times depend on the machine; the number of requests does not, and the growth of the processor time is a ratio of one run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/hack/beside"
)

const (
	startLimit  = time.Minute
	settleLimit = 20 * time.Minute // of the largest fleet
	restLength  = 30 * time.Second
)

func main() {
	sizes := flag.String("clusters", "10,100,1000", "how many, separated by commas")
	profiles := flag.String("profile", "", "folder for profiles of bin/operator-profile, one in it for each number of clusters; none by default")
	flag.Parse()
	log.SetLogger(logr.Discard()) // what envtest does is of no interest
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *sizes, *profiles); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, sizes, profiles string) error {
	for text := range strings.SplitSeq(sizes, ",") {
		size, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || size < 1 {
			return fmt.Errorf("-clusters %q: %q is no number of clusters", sizes, text)
		}
		if err := measure(ctx, size, profiles); err != nil {
			return fmt.Errorf("%d clusters: %w", size, err)
		}
	}
	return nil
}

// measure starts everything anew: what an earlier fleet has left in memory would count.
func measure(ctx context.Context, size int, profiles string) (err error) {
	folder, err := os.MkdirTemp("", "pgtls-fleet-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	audit, err := newAudit(folder)
	if err != nil {
		return err
	}
	server := newServer(audit)
	config, err := server.Start()
	defer func() { err = errors.Join(err, server.Stop()) }()
	if err != nil {
		return fmt.Errorf("starting an API server: %w", err)
	}
	config.QPS = -1 // as fast as the API server takes them
	admin, err := server.AddUser(envtest.User{Name: operatorUser, Groups: []string{"system:masters"}}, config)
	if err != nil {
		return fmt.Errorf("making the operator's user: %w", err)
	}
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return fmt.Errorf("making a kubeconfig: %w", err)
	}
	fleet, err := newFleet(config, size)
	if err != nil {
		return err
	}
	if err := fleet.create(ctx); err != nil {
		return err
	}
	operator, err := start(fleet, profiles, kubeconfig)
	if err != nil {
		return err
	}
	defer operator.Stop()
	return observe(ctx, fleet, audit, operator)
}

func newServer(audit *audit) *envtest.Environment {
	server := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("config", "crd")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: startLimit,
		ControlPlaneStopTimeout:  startLimit,
	}
	arguments := server.ControlPlane.GetAPIServer().Configure()
	arguments.Set("audit-policy-file", audit.policy)
	arguments.Set("audit-log-path", audit.log)
	arguments.Set("service-cluster-ip-range", "10.0.0.0/16") // three addresses for each cluster
	return server
}

// operator under observation.
type operator struct {
	*beside.Operator
	profiles string // the folder of its profiles; empty: it makes none
	began    time.Time
}

func start(fleet *fleet, profiles string, kubeconfig []byte) (*operator, error) {
	if profiles == "" {
		began := time.Now()
		o, err := beside.Start(kubeconfig)
		return &operator{o, "", began}, err
	}
	folder, err := filepath.Abs(filepath.Join(profiles, strconv.Itoa(fleet.size)))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o700)); err != nil {
		return nil, err
	}
	began := time.Now()
	o, err := beside.StartProfiled(folder, kubeconfig)
	return &operator{o, folder, began}, err
}

func observe(ctx context.Context, fleet *fleet, audit *audit, operator *operator) error {
	limited, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := fleet.awaitSettled(limited); err != nil {
		operator.Stop()
		return fmt.Errorf("%w; the end of the operator's log:\n%s", err, tail(operator.Log()))
	}
	settled := time.Since(operator.began)
	used, err := operator.CPU()
	if err != nil {
		return err
	}
	memory, err := operator.Sample(ctx)
	if err != nil {
		return err
	}
	requests, err := audit.requests()
	if err != nil {
		return err
	}
	per := func(n int) float64 { return float64(n) / float64(fleet.size) }
	fmt.Printf("fleet: clusters=%d settle=%.1fs cpu=%.1fs memory=%.1fMB requestsPerCluster=%.1f listsPerCluster=%.2f\n",
		fleet.size, settled.Seconds(), used.Seconds(), float64(memory.Resident)/1e6, per(requests.all), per(requests.lists))
	for _, line := range requests.lines(fleet.size) {
		fmt.Fprintln(os.Stderr, line)
	}
	for _, controller := range []string{"cluster", "tls"} {
		count, err := operator.Reconciliations(ctx, controller)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "  %6.2f  reconciliations of controller %s\n", count/float64(fleet.size), controller)
	}
	if operator.profiles != "" {
		err := operator.WriteProfiles(ctx, operator.profiles)
		operator.Stop()
		return errors.Join(err, os.WriteFile(filepath.Join(operator.profiles, "operator.log"), []byte(operator.Log()), 0o600))
	}
	return atRest(ctx, fleet, operator.Operator, audit)
}

// atRest looks at an operator that has nothing to do.
func atRest(ctx context.Context, fleet *fleet, operator *beside.Operator, audit *audit) error {
	if err := beside.Pause(ctx, restLength/3); err != nil { // what the last status write has set going
		return err
	}
	before, err := operator.CPU()
	if err != nil {
		return err
	}
	earlier, err := audit.requests()
	if err != nil {
		return err
	}
	if err := beside.Pause(ctx, restLength); err != nil {
		return err
	}
	after, err := operator.CPU()
	if err != nil {
		return err
	}
	later, err := audit.requests()
	if err != nil {
		return err
	}
	fmt.Printf("fleet: clusters=%d rest cpu=%.2f%% writes=%d\n", fleet.size, 100*(after-before).Seconds()/restLength.Seconds(), later.writes-earlier.writes)
	since := later.since(earlier)
	for _, line := range since.lines(fleet.size) {
		fmt.Fprintln(os.Stderr, line)
	}
	return nil
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
