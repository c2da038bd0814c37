package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// reconciler of PostgresClusters.
type reconciler struct {
	client   client.Client
	applier  *kube.Applier
	events   events.EventRecorder
	settings desired.Settings
	connect  connector
	restarts *restarts
	retries  *retries
	denials  eventReader
	now      func() time.Time
}

// An outcome is what a round came to.
type outcome struct {
	waits    []Wait
	failures []failure
	conflict bool // a write conflict: look again at once
	leaving  bool // the namespace is being deleted: nothing more is done
}

// Reconcile does one round.
func (c *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	cluster := &v1beta1.PostgresCluster{}
	err := c.client.Get(ctx, request.NamespacedName, cluster)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading the PostgresCluster: %w", err)
	}
	if err != nil || cluster.DeletionTimestamp != nil {
		// Everything is owned, so it goes with the cluster.
		c.restarts.forget(request.NamespacedName)
		c.retries.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	seen, err := observe(ctx, c.client, cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	round := c.newRound(cluster, seen)
	done := round.run(ctx)
	if done.leaving {
		return reconcile.Result{}, nil
	}
	err = c.report(ctx, round, done)
	if kube.CauseOf(err) == kube.NamespaceTerminating {
		return reconcile.Result{}, nil
	}
	return done.result(c.retries.after(request.NamespacedName, round.now), err)
}

func (c *reconciler) newRound(cluster *v1beta1.PostgresCluster, seen facts) *round {
	c.retries.begin(client.ObjectKeyFromObject(cluster), cluster.UID, cluster.Generation)
	r := &round{
		cluster: cluster, settings: c.settings, events: c.events, random: rand.Reader, now: c.now(), denials: c.denials,
		connect: c.connect, restarts: c.restarts, retries: c.retries, facts: seen, lacking: map[string]lack{},
	}
	applier := *c.applier
	applier.TookBack = r.tookBack
	r.applier = &applier
	return r
}

func (r *round) run(ctx context.Context) outcome {
	if problem := refusal(r.cluster, r.settings); problem != nil {
		return outcome{waits: []Wait{*problem}}
	}
	var waits []Wait
	for _, step := range steps() {
		waits = append(waits, r.runStep(ctx, step)...)
		if r.leaving {
			break
		}
	}
	return outcome{waits: waits, failures: r.failures, conflict: r.conflict, leaving: r.leaving}
}

// result asks for another round only while something is waited for that no watch tells. retry is when the first failed attempt is made
// again, 0 for none; err is that of the status.
func (o outcome) result(retry time.Duration, err error) (reconcile.Result, error) {
	if err != nil && !conflictOnly(err) {
		return reconcile.Result{}, err
	}
	again := retry
	if o.conflict || err != nil {
		again = soonest(again, soon/4)
	}
	for _, wait := range o.waits {
		again = soonest(again, wait.Again)
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// soonest returns the shorter of two pauses; 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
