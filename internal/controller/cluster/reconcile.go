package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	now      func() time.Time
}

// A step brings one kind of thing nearer to the spec. It returns what it waits for.
type step struct {
	name string
	run  func(context.Context, *round) ([]Wait, error)
}

// steps in their order: what pods need comes before the pods.
func steps() []step {
	return []step{
		{"clear leftovers", clearLeftovers},
		{"give permissions", givePermissions},
		{"write configuration", writeConfiguration},
		{"make services", makeServices},
		{"keep users' secrets", keepUserSecrets},
		{"make volumes", makeVolumes},
		{"make instances", makeInstances},
		{"make poolers", makePoolers},
		{"set disruption budgets", setDisruptionBudgets},
		{"set network policies", setNetworkPolicies},
		{"adopt Patroni's objects", adoptPatroniObjects},
		{"configure Patroni", configurePatroni},
		{"remove instances", removeInstances},
		{"replace instances", replaceInstances},
		{"restart instances", restartInstances},
		{"make users and databases", makeUsersAndDatabases},
	}
}

// An outcome is what a round came to.
type outcome struct {
	waits []Wait
	err   error
}

// Reconcile does one round.
func (c *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	cluster := &v1beta1.PostgresCluster{}
	if err := c.client.Get(ctx, request.NamespacedName, cluster); err != nil {
		c.restarts.forget(request.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if cluster.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // everything is owned, so it goes with the cluster
	}
	seen, err := observe(ctx, c.client, cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	round := &round{
		cluster: cluster, settings: c.settings, applier: c.applier, events: c.events, random: rand.Reader,
		connect: c.connect, restarts: c.restarts, facts: seen, refused: map[string]bool{},
	}
	outcome := round.run(ctx)
	err = c.report(ctx, round, outcome)
	return result(outcome.waits, errors.Join(outcome.err, err))
}

func (r *round) run(ctx context.Context) outcome {
	if problem := refusal(r.cluster, r.settings); problem != nil {
		return outcome{waits: []Wait{*problem}}
	}
	var done outcome
	for _, step := range steps() {
		waits, err := step.run(ctx, r)
		done.waits = append(done.waits, waits...)
		if err != nil {
			done.err = errors.Join(done.err, fmt.Errorf("%s: %w", step.name, err))
		}
	}
	return done
}

// result asks for another round only while something is waited for that no watch tells.
func result(waits []Wait, err error) (reconcile.Result, error) {
	if conflictOnly(err) {
		// The cache was behind, or somebody else wrote: look again.
		return reconcile.Result{RequeueAfter: soon / 4}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	var again time.Duration
	for _, wait := range waits {
		if wait.Again > 0 && (again == 0 || wait.Again < again) {
			again = wait.Again
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// conflictOnly tells whether every error in a joined one is a conflict.
func conflictOnly(err error) bool {
	if err == nil {
		return false
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, member := range joined.Unwrap() {
			if !conflictOnly(member) {
				return false
			}
		}
		return true
	}
	return apierrors.IsConflict(err)
}
