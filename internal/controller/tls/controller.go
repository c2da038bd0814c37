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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"sigs.k8s.io/controller-runtime/pkg/source"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/report"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation"
)

// fieldOwner of everything that this controller writes.
const fieldOwner = client.FieldOwner("pgtls-tls")

const (
	maxRounds = 64 // of one reconciliation; a plan comes to rest long before
	// Pause after an error; it doubles with each.
	errorRetryMin = 5 * time.Millisecond
	retryMin      = time.Second      // pause before a blocker is looked at again
	RetryMax      = 30 * time.Second // at most; a report or an event comes at once
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
	Client  client.Client
	Live    client.Reader
	Applier *kube.Applier
	Events  events.EventRecorder
	Options Options
	Agents  *evidence.Agents
	Proofs  *evidence.Proofs

	Sessions gather.SessionReader

	EndSessions act.SessionEnder
	Sweeps      *evidence.Sweeps
	Nudges      *evidence.Nudges
	retries     *retries
}

// SetupWithManager adds the controller to a manager. ctx ends its connections to agents.
func SetupWithManager(ctx context.Context, mgr manager.Manager, options Options) error {
	news := make(chan event.TypedGenericEvent[types.NamespacedName], 1024)
	direct, err := client.New(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("setting up the TLS controller's client: %w", err)
	}
	r := &Reconciler{
		Client:  mgr.GetClient(),
		Live:    direct,
		Applier: newApplier(direct), // compares with what is stored, not with a cache
		Events:  mgr.GetEventRecorder("pgtls-tls"),
		Options: options,
		Proofs:  evidence.NewProofs(probe.Dial),

		Sessions: gather.ReadSessions,

		EndSessions: act.EndSessions,
		Sweeps:      evidence.NewSweeps(),

		Nudges:  evidence.NewNudges(),
		retries: newRetries(),
	}
	r.Agents = evidence.NewAgents(ctx, options.Now, func(cluster types.NamespacedName) {
		select {
		case news <- event.TypedGenericEvent[types.NamespacedName]{Object: cluster}:
		case <-ctx.Done():
		}
	}, (&net.Dialer{}).DialContext)
	b := ctrl.NewControllerManagedBy(mgr).
		Named("tls").
		For(&v1beta1.PostgresCluster{}).
		Owns(&corev1.Secret{}, builder.OnlyMetadata).
		Owns(&corev1.ConfigMap{}, builder.OnlyMetadata).
		Owns(&corev1.Service{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(clusterOfPod)).
		WatchesRawSource(source.TypedChannel(news, handler.TypedEnqueueRequestsFromMapFunc(
			func(_ context.Context, cluster types.NamespacedName) []ctrl.Request {
				return []ctrl.Request{{NamespacedName: cluster}}
			}))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: max(options.Concurrency, 1),
			// The default grows to a quarter of an hour: too long for a certificate.
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](errorRetryMin, RetryMax),
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
	conditions := []string{report.ConditionTLSReady}
	for _, s := range wanted.Slots() {
		conditions = append(conditions, s.Condition)
	}
	for _, domain := range rotation.Domains() {
		conditions = append(conditions, report.TrustConditions[domain])
	}
	return &kube.Applier{Client: c, Owner: fieldOwner, Conditions: conditions}
}

// clusterOfPod: pods belong to StatefulSets and ReplicaSets, so they are found by label.
func clusterOfPod(_ context.Context, pod client.Object) []ctrl.Request {
	cluster := pod.GetLabels()[desired.ClusterLabel]
	if cluster == "" {
		return nil
	}
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: pod.GetNamespace(), Name: cluster}}}
}

func (r *Reconciler) Now() time.Time { return r.Options.Now() }

// Reconcile observes, decides and acts until there is nothing to do or
// somebody to wait for, and tells the result.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	// Read live: an old status would be told anew, with its events.
	var cluster v1beta1.PostgresCluster
	err := r.Live.Get(ctx, request.NamespacedName, &cluster)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading PostgresCluster %s: %w", request.NamespacedName, err)
	}
	if apierrors.IsNotFound(err) || !cluster.DeletionTimestamp.IsZero() {
		return r.outcome(ctx, request.NamespacedName, 0, r.letGo(ctx, request.NamespacedName))
	}
	failed := request.Request(ctx, &cluster)
	v, plan, failure := r.rotate(ctx, &cluster)
	if v == nil || movedOn(failure) {
		return r.outcome(ctx, request.NamespacedName, 0, failure)
	}
	report.NoteRequests(v, failed)
	if err := report.WriteStatus(ctx, v, plan, failure); err != nil {
		return r.outcome(ctx, request.NamespacedName, 0, err)
	}
	if failure != nil {
		return ctrl.Result{}, failure
	}
	return r.outcome(ctx, request.NamespacedName, soonest(r.pause(request.NamespacedName, plan), report.RetryAfter(v)), nil)
}

// movedOn reports whether an error only says that somebody else wrote meanwhile: observe again.
func movedOn(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// outcome is what a reconciliation returns; that the world moved on is no error.
func (r *Reconciler) outcome(ctx context.Context, cluster types.NamespacedName, after time.Duration, err error) (ctrl.Result, error) {
	if movedOn(err) {
		log.FromContext(ctx).V(1).Info("the world moved on, looking again", "because", err.Error())
		return ctrl.Result{RequeueAfter: r.retries.after(cluster, "the world moved on") / 10}, nil
	}
	return ctrl.Result{RequeueAfter: after}, err
}

// rotate executes plans until one has no step.
func (r *Reconciler) rotate(ctx context.Context, cluster *v1beta1.PostgresCluster) (*snapshot.Snapshot, rotation.Plan, error) {
	var plan rotation.Plan
	var v *snapshot.Snapshot
	for range maxRounds {
		seen, err := gather.observe(ctx, cluster)
		if err != nil {
			return v, plan, err
		}
		v = seen
		if len(v.Orphans) > 0 {
			if err := act.ReleaseOrphans(ctx, v); err != nil {
				return v, plan, err
			}
			continue
		}
		if plan, err = r.decide(ctx, v); err != nil {
			return v, refusedPolicy(v, err), nil
		}
		if len(plan.Steps) == 0 {
			return v, plan, nil
		}
		v.Plan = plan
		logSteps(ctx, plan)
		if err := act.Execute(ctx, v, plan); err != nil && !errors.Is(err, act.ErrLookAgain) {
			return v, plan, err
		}
	}
	return v, plan, fmt.Errorf("after %d rounds it has not come to rest", maxRounds)
}

// decide asks for a plan, and once more when it waits for what is read only on demand.
func (r *Reconciler) decide(ctx context.Context, v *snapshot.Snapshot) (rotation.Plan, error) {
	plan, err := rotation.Next(v.Policy, v.Observed)
	if err != nil || !slices.ContainsFunc(plan.Blockers, func(b rotation.Blocker) bool { return b.Reason == rotation.SessionsUnknown }) {
		return plan, err
	}
	gather.ObserveSessions(ctx, v)
	return rotation.Next(v.Policy, v.Observed)
}

// refusedPolicy waits for the user: trying again would find the same.
func refusedPolicy(v *snapshot.Snapshot, err error) rotation.Plan {
	return rotation.Plan{State: rotation.Waiting, Blockers: []rotation.Blocker{
		{Party: v.Cluster.Name, Reason: report.PolicyInvalid, Message: err.Error()},
	}}
}

// logSteps says what is about to be done. A look is no news: a cluster that waits takes one after the other.
func logSteps(ctx context.Context, plan rotation.Plan) {
	for _, step := range plan.Steps {
		level := 0
		if step.Op == rotation.Prove {
			level = 1
		}
		log.FromContext(ctx).V(level).Info("step", "step", step.String())
	}
}

// pause returns how long until the plan changes by itself or a blocker is looked at again.
func (r *Reconciler) pause(cluster types.NamespacedName, plan rotation.Plan) time.Duration {
	retry := r.retries.after(cluster, waitingFor(plan))
	if plan.Wake.IsZero() {
		return retry
	}
	wake := max(plan.Wake.Sub(r.Now()), time.Millisecond)
	if retry == 0 {
		return wake
	}
	return min(wake, retry)
}

// soonest returns the shorter of two pauses; 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// waitingFor names the blockers without what changes from one look to the next; "" when there are none.
func waitingFor(plan rotation.Plan) string {
	var text strings.Builder
	for _, b := range plan.Blockers {
		if b.Patient() {
			continue // the plan says when it ends, or somebody does
		}
		fmt.Fprintf(&text, "%s %s\n", b.Party, b.Reason)
	}
	return text.String()
}

// letGo releases the Secrets of authorities whose cluster is gone, or goes when
// they are gone; the garbage collector has deleted them and their finalizers hold them.
func (r *Reconciler) letGo(ctx context.Context, name types.NamespacedName) error {
	r.Agents.KeepOnly(name, nil)
	r.Proofs.KeepOnly(name, nil)
	r.Sweeps.KeepOnly(name, nil)
	r.retries.after(name, "")
	var secrets corev1.SecretList
	if err := r.Live.List(ctx, &secrets, client.InNamespace(name.Namespace),
		client.MatchingLabels(desired.ComponentLabels(name.Name, desired.TLSComponent))); err != nil {
		return fmt.Errorf("listing the Secrets of %s: %w", name, err)
	}
	var cluster v1beta1.PostgresCluster
	err := r.Live.Get(ctx, name, &cluster)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading PostgresCluster %s: %w", name, err)
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		orphan := !secret.DeletionTimestamp.IsZero() && (apierrors.IsNotFound(err) || !cluster.DeletionTimestamp.IsZero() || !metav1.IsControlledBy(secret, &cluster))
		if !orphan {
			continue
		}
		if err := act.RemoveFinalizer(ctx, secret); err != nil {
			return err
		}
	}
	return nil
}
