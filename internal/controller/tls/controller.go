package tls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/report"
	"pgtls.dev/pgtls/internal/controller/tls/request"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// fieldOwner of everything that this controller writes.
const fieldOwner = client.FieldOwner("pgtls-tls")

const (
	maxRounds = 64 // of one reconciliation; a plan comes to rest long before
	// Pause after an error; it doubles with each.
	errorRetryMin = 5 * time.Millisecond
	retryMin      = time.Second      // pause before a blocker is looked at again
	retryMax      = 30 * time.Second // at most; a report or an event comes at once
)

// Options of the controller.
type Options struct {
	// ClusterDomain of the Kubernetes cluster, such as cluster.local.
	ClusterDomain string
	// Now is the clock.
	Now func() time.Time
	// Namespaces that are watched; none: all.
	Namespaces []string
	// SystemRoots are the authorities that the operator's system trusts; nil where these are not known.
	SystemRoots func() []*x509.Certificate
	// Concurrency is how many clusters are worked on at a time.
	Concurrency int
}

// Reconciler keeps the certificates of PostgresClusters.
type Reconciler struct {
	options  Options
	gatherer *gather.Gatherer
	executor *act.Executor
	retries  *retries
	failures *failures
	writes   *kube.Writes
	doubts   doubts
}

// connections are what a Reconciler works with.
type connections struct {
	cached   client.Reader
	direct   client.Client
	recorder events.EventRecorder
	agents   *evidence.Agents
	dial     evidence.Probe
	sessions gather.SessionReader
	end      act.SessionEnder
}

func newReconciler(options Options, c connections) *Reconciler {
	proofs, terminations, retriggers, memory := evidence.NewProofs(c.dial), evidence.NewTerminations(), evidence.NewRetriggers(), material.NewMemory()
	writes, verdicts := kube.NewWrites(options.Now), material.NewVerdicts()
	noted := writes.Client(c.direct, clusterOf)
	return &Reconciler{
		options: options, retries: newRetries(), failures: newFailures(), writes: writes,
		gatherer: &gather.Gatherer{
			Live: c.direct, Cached: c.cached, Writes: writes, Verdicts: verdicts, Agents: c.agents, Proofs: proofs, Terminations: terminations, Retriggers: retriggers, Memory: memory,
			Sessions: c.sessions, Now: options.Now, ClusterDomain: options.ClusterDomain, SystemRoots: options.SystemRoots,
		},
		executor: &act.Executor{
			Client: noted, Applier: newApplier(noted), Events: c.recorder,
			Proofs: proofs, Terminations: terminations, Retriggers: retriggers, Memory: memory, Verdicts: verdicts, EndSessions: c.end, Now: options.Now,
		},
	}
}

// SetupWithManager adds the controller to a manager. ctx ends its connections to agents.
func SetupWithManager(ctx context.Context, mgr manager.Manager, options Options) error {
	news := make(chan event.TypedGenericEvent[types.NamespacedName], 1024)
	// Past the cache: a write is compared with what is stored.
	direct, err := client.New(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("setting up the TLS controller's client: %w", err)
	}
	agents := evidence.NewAgents(ctx, options.Now, func(cluster types.NamespacedName) {
		select {
		case news <- event.TypedGenericEvent[types.NamespacedName]{Object: cluster}:
		case <-ctx.Done():
		}
	}, (&net.Dialer{}).DialContext)
	r := newReconciler(options, connections{
		cached: mgr.GetClient(), direct: direct, recorder: mgr.GetEventRecorder("pgtls-tls"),
		agents: agents, dial: probe.Dial, sessions: gather.ReadSessions, end: act.EndSessions,
	})
	r.executor.Applier.MayWrite = kube.NewNamespaces(direct, options.Now).MayWrite
	owned := kube.Settling(handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1beta1.PostgresCluster{}, handler.OnlyControllerOwner()))
	b := ctrl.NewControllerManagedBy(mgr).
		Named("tls").
		For(&v1beta1.PostgresCluster{}, builder.WithPredicates(seen(r.writes), wished())).
		Owns(&corev1.Secret{}, builder.WithPredicates(seen(r.writes), byOthers(&r.executor.Written), read())).
		Watches(&corev1.ConfigMap{}, owned, builder.WithPredicates(seenOfOthers(r.writes), predicate.Or(read(), configured()))).
		Watches(&corev1.Service{}, owned, builder.WithPredicates(addressed())).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(clusterOfPod), builder.WithPredicates(seen(r.writes), podChanges())).
		WatchesRawSource(source.TypedChannel(news, handler.TypedEnqueueRequestsFromMapFunc(
			func(_ context.Context, cluster types.NamespacedName) []ctrl.Request {
				return []ctrl.Request{{NamespacedName: cluster}}
			}))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: max(options.Concurrency, 1),
			// The default grows to a quarter of an hour: too long for a certificate.
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](errorRetryMin, retryMax),
		})
	if err := watchReferences(ctx, mgr, options.Namespaces, b); err != nil {
		return err
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("setting up the TLS controller: %w", err)
	}
	return nil
}

func newApplier(c client.Client) *kube.Applier {
	return &kube.Applier{Client: c, Owner: fieldOwner, ClusterLabel: desired.ClusterLabel, Conditions: report.Conditions()}
}

// clusterOfPod: pods belong to StatefulSets and ReplicaSets, so they are found by label.
func clusterOfPod(_ context.Context, pod client.Object) []ctrl.Request {
	cluster := pod.GetLabels()[desired.ClusterLabel]
	if cluster == "" {
		return nil
	}
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: pod.GetNamespace(), Name: cluster}}}
}

// Reconcile gathers, decides and acts until there is nothing more to be done now, and reports.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	seen, decided, err := r.rotate(ctx, request.NamespacedName)
	if errors.Is(err, gather.ErrGone) {
		r.forget(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return r.outcome(ctx, request.NamespacedName, 0, err)
	}
	if !isTransient(seen, decided) {
		if err := r.report(ctx, seen, decided); err != nil {
			return r.outcome(ctx, request.NamespacedName, 0, err)
		}
	}
	return r.outcome(ctx, request.NamespacedName, r.pause(ctx, seen, decided), nil)
}

// forget forgets a cluster that is gone. Nothing of it is held: there is nothing to let go of but what is remembered.
func (r *Reconciler) forget(cluster types.NamespacedName) {
	r.gatherer.Forget(cluster)
	r.failures.forget(cluster)
	r.retries.after(cluster, "")
	r.doubts.set(cluster, false)
	r.executor.Issued.Forget(cluster)
}

// isTransient reports whether nothing is said of what was seen: a new party waits for its Services, which the cluster controller makes at
// the same time, nothing is wrong, and within some seconds there will be more to say. What is to be told of is told then.
func isTransient(seen *snapshot.Snapshot, decided plan.Plan) bool {
	return !seen.ServicesUntil.IsZero() && len(decided.Blockers) == 0 && len(seen.Observed.Failures) == 0
}

// outcome is what a reconciliation returns; a write conflict is no error.
func (r *Reconciler) outcome(ctx context.Context, cluster types.NamespacedName, after time.Duration, err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		log.FromContext(ctx).V(1).Info("write conflict, requeueing", "because", err.Error())
		return ctrl.Result{RequeueAfter: r.retries.after(cluster, "write conflict") / 10}, nil
	}
	return ctrl.Result{RequeueAfter: after}, err
}

// rotate executes plans until one has no step that is due.
func (r *Reconciler) rotate(ctx context.Context, cluster types.NamespacedName) (*snapshot.Snapshot, plan.Plan, error) {
	for round := range maxRounds {
		seen, decided, todo, err := r.look(ctx, cluster, r.sourceFor(cluster))
		if err == nil && !seen.PastCache && (!todo.mayTake(seen) || r.writes.Doubtful(cluster)) { // decided again on evidence, and nothing is done that only the cache says
			seen, decided, todo, err = r.look(ctx, cluster, gather.PastCache)
		}
		if err != nil {
			return nil, plan.Plan{}, err
		}
		if len(todo.lanes) == 0 {
			return seen, decided, nil
		}
		if conflict := r.execute(ctx, keyOf(seen), todo); conflict != nil {
			return nil, plan.Plan{}, conflict
		}
		if round == maxRounds-1 {
			return seen, report.NotConverged(decided, maxRounds), nil
		}
	}
	return nil, plan.Plan{}, nil
}

// look observes a cluster, and decides.
func (r *Reconciler) look(ctx context.Context, name types.NamespacedName, source gather.Source) (*snapshot.Snapshot, plan.Plan, work, error) {
	cluster, err := r.gatherer.ReadCluster(ctx, name, source)
	if err != nil {
		return nil, plan.Plan{}, work{}, err
	}
	seen, err := r.gatherer.Gather(ctx, cluster, source)
	if err != nil {
		return nil, plan.Plan{}, work{}, err
	}
	if source == gather.PastCache {
		r.doubts.set(name, seen.Unlisted)
	}
	decided, todo, err := r.decide(ctx, seen)
	return seen, decided, todo, err
}

// decide asks for a plan, and once more when it waits for what is read only on demand.
func (r *Reconciler) decide(ctx context.Context, s *snapshot.Snapshot) (plan.Plan, work, error) {
	s.Observed.Failures = r.failures.of(keyOf(s))
	decided, err := rotation.Next(s.Policy, s.Observed)
	if err == nil && slices.ContainsFunc(decided.Blockers, func(b plan.Blocker) bool { return b.Reason == reason.SessionsUnknown }) {
		r.gatherer.GatherSessions(ctx, s)
		decided, err = rotation.Next(s.Policy, s.Observed)
	}
	if err != nil {
		decided = refusedPolicy(s, err)
	}
	requests, err := request.Steps(s, r.options.ClusterDomain, func(desired, live client.Object) (bool, error) {
		return kube.Differs(r.executor.Applier, desired, live)
	})
	if err != nil {
		return plan.Plan{}, work{}, err
	}
	todo := r.workOf(s, decided, requests)
	r.failures.keepOnly(keyOf(s), func(failed facts.Failure) bool { return todo.wants(decided, failed) })
	return decided, todo, nil
}

// report writes the status, and sends the events.
func (r *Reconciler) report(ctx context.Context, s *snapshot.Snapshot, decided plan.Plan) error {
	said := report.Of(s, decided)
	if _, err := r.executor.Applier.ApplyStatus(ctx, s.Cluster, said.Status, "tls"); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.executor.TellIssued(s.Cluster)
	for _, e := range said.Events {
		r.executor.Events.Eventf(s.Cluster, nil, e.Type, e.Reason, e.Action, "%s", e.Message)
	}
	return nil
}

// refusedPolicy waits for the user: trying again would find the same.
func refusedPolicy(s *snapshot.Snapshot, err error) plan.Plan {
	return plan.Plan{State: plan.Waiting, Blockers: []plan.Blocker{
		{Party: s.Cluster.Name, Reason: report.PolicyInvalid, Message: err.Error()},
	}}
}

// pause returns how long until the plan changes by itself, or a blocker, a failed step or a source is looked at again.
func (r *Reconciler) pause(ctx context.Context, s *snapshot.Snapshot, decided plan.Plan) time.Duration {
	pause := soonest(r.retries.after(keyOf(s), waitingFor(decided)), r.retryIn(keyOf(s)))
	if report.Unwatched(s) {
		pause = soonest(pause, retryMax)
	}
	if look := r.gatherer.Proofs.Look(keyOf(s)); !look.IsZero() {
		pause = soonest(pause, max(look.Sub(r.options.Now()), time.Millisecond))
	}
	if !s.ServicesUntil.IsZero() {
		pause = soonest(pause, max(s.ServicesUntil.Sub(r.options.Now()), time.Millisecond))
	}
	if r.writes.Lags(ctx, keyOf(s), r.gatherer.Cached) { // what was deleted behind an own write would be missed
		pause = soonest(pause, kube.CacheLag+time.Second)
	}
	if !decided.Wake.IsZero() {
		pause = soonest(pause, max(decided.Wake.Sub(r.options.Now()), time.Millisecond))
	}
	return pause
}

// soonest returns the shorter of two pauses; 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// waitingFor names the blockers without what changes from one look to the next; "" when there are none.
func waitingFor(decided plan.Plan) string {
	var text strings.Builder
	for _, b := range decided.Blockers {
		if b.Reason.Expected() || b.Reason == reason.StepFailed {
			continue // when it is to be looked at again stands in the plan
		}
		fmt.Fprintf(&text, "%s %s\n", b.Party, b.Reason)
	}
	return text.String()
}
