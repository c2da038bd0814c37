package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/memo"
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
	restarts *decide.Restarts
	attempts *attempt.Memory
	denials  denials
	known    *memo.Credentials
	rendered *memo.Renderings
	now      func() time.Time
	patience time.Duration // for a state that goes by itself, before it is reported; 0: none
}

// An outcome is what a round came to.
type outcome struct {
	waits    []decide.Wait
	failures []attempt.Failure
	conflict bool // a write conflict: look again at once
	wrote    bool // some object was written, and a watch will tell of it
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
		c.restarts.Forget(request.NamespacedName)
		c.attempts.Forget(request.NamespacedName)
		c.denials.memory.Forget(request.NamespacedName)
		c.known.Forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	seen, err := observe(ctx, c.client, cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	round := c.newRound(observed{cluster: cluster, settings: c.settings, now: c.now(), facts: seen})
	done := round.run(ctx)
	if done.leaving {
		return reconcile.Result{}, nil
	}
	status := statusOf(cluster, seen, done)
	if pause := c.postpone(request.NamespacedName, cluster, status, done, round.seen.now); pause > 0 {
		result, err := done.result(c.attempts.After(request.NamespacedName, round.seen.now), nil)
		result.RequeueAfter = soonest(result.RequeueAfter, pause)
		return result, err
	}
	err = c.report(ctx, round, status)
	if kube.CauseOf(err) == kube.NamespaceTerminating {
		return reconcile.Result{}, nil
	}
	return done.result(c.attempts.After(request.NamespacedName, round.seen.now), err)
}

func (c *reconciler) newRound(seen observed) *round {
	cluster := seen.cluster
	c.attempts.Begin(seen.key(), cluster.UID, cluster.Generation)
	c.denials.memory.Begin(seen.key(), cluster.UID, cluster.Generation)
	ledger := attempt.NewLedger(c.attempts, seen.key(), seen.now)
	events := teller{recorder: c.events, cluster: cluster}
	applier := *c.applier
	applier.TookBack = events.tookBack
	objects := &writer{cluster: cluster, applier: &applier, ledger: ledger, lacking: map[string]lack{}}
	return &round{
		seen: seen, ledger: ledger, objects: objects, events: events, connect: c.connect, denials: c.denials, random: rand.Reader, credentials: c.known, renderings: c.rendered,
		ha:        &asker{seen: seen, connect: c.connect},
		instances: &executor{seen: seen, objects: objects, events: events, restarts: c.restarts},
		cleared:   map[string]bool{}, secrets: map[string]*corev1.Secret{},
	}
}

// result asks for another round only while something is waited for that no watch tells. retry is when the first failed attempt is made
// again, 0 for none; err is that of the status.
func (o outcome) result(retry time.Duration, err error) (reconcile.Result, error) {
	if err != nil && !attempt.ConflictOnly(err) {
		return reconcile.Result{}, err
	}
	again := retry
	if o.conflict || err != nil {
		again = soonest(again, decide.Soon/4)
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
