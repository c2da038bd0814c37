package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/test/bringup"
	"pgtls.dev/pgtls/test/harness"
)

const (
	namespace = "pgtls-demo"
	name      = "hippo"
	instances = 3
	poolers   = 2
	renewals  = 3

	firstRolloutLimit = 5 * time.Minute
	renewalLimit      = 2 * time.Minute
)

// rates that a machine with two cores bears without sweat.
var rates = harness.Rates{Pgx: 5, Psql: 0.5, Pgbench: 2}

// A demo is one run of it.
type demo struct {
	progress *bringup.Progress
	kube     *harness.Kube
	images   harness.Images
	cluster  *harness.Cluster
	client   *harness.ClientPod
}

// show runs where the cluster's addresses are reachable.
func show(ctx context.Context) error {
	d := demo{progress: bringup.NewProgress(os.Stderr)}
	var err error
	if d.images, err = harness.ImagesFromEnvironment(); err != nil {
		return err
	}
	if d.kube, err = harness.Connect(); err != nil {
		return err
	}
	err = d.tell(ctx)
	return errors.Join(err, d.tidy(err))
}

func (d *demo) tell(ctx context.Context) error {
	if err := d.progress.Step("operator", func() error { return d.kube.InstallOperator(ctx, d.images) }); err != nil {
		return err
	}
	if err := d.progress.Step("what an earlier demo may have left", func() error { return d.kube.RemoveNamespace(ctx, namespace) }); err != nil {
		return err
	}
	if err := d.progress.Step("cluster hippo: 3 instances of PostgreSQL, 2 of PgBouncer", func() error { return d.rolledOut(ctx) }); err != nil {
		return err
	}
	outcome, err := d.renewUnderLoad(ctx)
	if err != nil {
		return err
	}
	outcome.print(os.Stdout)
	return outcome.verdict()
}

func (d *demo) rolledOut(ctx context.Context) error {
	wanted := harness.NewCluster(namespace, name).WithInstances(instances).WithPoolers(poolers).Build()
	var err error
	if d.cluster, err = harness.Create(ctx, d.kube, wanted); err != nil {
		return err
	}
	if err := d.cluster.AwaitReady(ctx, firstRolloutLimit); err != nil {
		return err
	}
	if d.client, err = d.cluster.StartClient(ctx, d.images); err != nil {
		return err
	}
	return d.client.AwaitStreaming(ctx, instances-1)
}

func (d *demo) renewUnderLoad(ctx context.Context) (*outcome, error) {
	targets, err := d.cluster.Targets(ctx)
	if err != nil {
		return nil, err
	}
	replication, err := d.client.Replication(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := d.client.KeepSessions(ctx, targets, 3)
	if err != nil {
		return nil, err
	}
	deliveries, err := d.client.WatchDeliveries(ctx)
	if err != nil {
		return nil, err
	}
	connecting, err := d.client.Connect(ctx, targets, rates)
	if err != nil {
		return nil, err
	}
	d.progress.Say("%d sessions stay open, and new verify-full connections come all the time: psql, pgbench -C and pgx, pooled and direct", sessions.Opened())
	if err := deliveries.AwaitEveryPod(ctx); err != nil {
		return nil, err
	}
	before := deliveries.Serving()
	if err := d.renew(ctx, deliveries); err != nil {
		return nil, err
	}
	after, err := d.client.Replication(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(connecting.Stop(), sessions.Stop(), deliveries.Stop()); err != nil {
		return nil, err
	}
	return &outcome{
		before: before, after: deliveries.Serving(), deliveries: deliveries.Done(),
		counts: connecting.Counts(), failures: connecting.Failures(),
		opened: sessions.Opened(), lost: sessions.Lost(),
		streams: len(replication), interrupted: cmp.Diff(replication, after),
	}, nil
}

// renew every leaf, several times, and leave the clients some time in between.
func (d *demo) renew(ctx context.Context, deliveries *harness.Deliveries) error {
	for i := range renewals {
		time.Sleep(3 * time.Second)
		step := fmt.Sprintf("renewal %d of %d of every leaf", i+1, renewals)
		err := d.progress.Step(step, func() error {
			before := deliveries.Serving()
			if err := d.cluster.RequestRenewal(ctx); err != nil {
				return err
			}
			if err := deliveries.AwaitNew(ctx, before, renewalLimit); err != nil {
				return err
			}
			return d.cluster.AwaitReady(ctx, renewalLimit)
		})
		if err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second)
	return nil
}

// tidy says what a failed cluster looked like, and removes the cluster unless the user wants to look at it.
func (d *demo) tidy(failed error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if failed != nil && d.cluster != nil {
		fmt.Fprintf(os.Stderr, "the cluster at that moment:\n%s", d.cluster.Diagnose(ctx))
	}
	if os.Getenv("KEEP") != "" {
		return nil
	}
	return d.progress.Step("cluster hippo removed (KEEP=1 keeps it)", func() error {
		if err := d.kube.RemoveNamespace(ctx, namespace); err != nil {
			return err
		}
		return d.kube.UninstallOperator(ctx)
	})
}
