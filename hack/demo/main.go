// Command demo shows what pgtls is for: a PostgreSQL cluster whose
// certificates are all renewed, three times, while clients keep connecting and
// none of them notices.
//
//	make demo                      on a throwaway Kubernetes, which it takes down at the end
//	make demo KEEP=1               leaves everything running for a look
//	make demo KUBE_CONTEXT=name    on your cluster, with the images in IMAGE_REGISTRY
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"pgtls.dev/pgtls/test/bringup"
)

// shown are the images that the demo needs: an older PostgreSQL is none of them.
var shown = []string{"operator", "agent", "client", "postgres-17", "pgbouncer"}

// inside is the argument with which the demo starts itself where the cluster's addresses are reachable.
const inside = "inside"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	act := prepare
	if len(os.Args) > 1 && os.Args[1] == inside {
		act = show
	}
	if err := act(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// prepare makes everything that the demo runs on, and takes it down afterwards.
func prepare(ctx context.Context) (err error) {
	progress := bringup.NewProgress(os.Stderr)
	machine, err := bringup.New(ctx, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, machine.Down()) }()
	images, err := machine.Up(ctx, shown...)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := machine.Inside(ctx, images, os.Stdout, self, inside); err != nil {
		return errors.New("it did not go as it should: see above")
	}
	printNext(os.Stdout, machine.Kubernetes(), os.Getenv("KEEP") != "")
	return nil
}
