package tls

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
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
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation"
)

// fieldOwner of everything that this controller writes.
const fieldOwner = client.FieldOwner("pgtls-tls")

const (
	maxRounds = 64               // of one reconciliation; a plan comes to rest long before
	retryMin  = time.Second      // pause before a blocker is looked at again
	retryMax  = 30 * time.Second // at most; a report or an event comes at once
)

// Options of the controller.
type Options struct {
	// ClusterDomain of the Kubernetes cluster, such as cluster.local.
	ClusterDomain string
	// Now is the clock.
	Now func() time.Time
	// Concurrency is how many clusters are worked on at a time.
	Concurrency int
}

// Reconciler keeps the certificates of PostgresClusters.
type Reconciler struct {
	client  client.Client
	live    client.Reader
	applier *kube.Applier
	events  events.EventRecorder
	options Options
	agents  *agents
	proofs  *proofs
	retries *retries
}

// SetupWithManager adds the controller to a manager. ctx ends its connections to agents.
func SetupWithManager(ctx context.Context, mgr manager.Manager, options Options) error {
	news := make(chan event.TypedGenericEvent[types.NamespacedName], 1024)
	r := &Reconciler{
		client:  mgr.GetClient(),
		live:    mgr.GetAPIReader(),
		applier: &kube.Applier{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Owner: fieldOwner},
		events:  mgr.GetEventRecorder("pgtls-tls"),
		options: options,
		proofs:  newProofs(),
		retries: newRetries(),
	}
	r.agents = newAgents(ctx, options.Now, func(cluster types.NamespacedName) {
		select {
		case news <- event.TypedGenericEvent[types.NamespacedName]{Object: cluster}:
		case <-ctx.Done():
		}
	})
	err := ctrl.NewControllerManagedBy(mgr).
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
		WithOptions(controller.Options{MaxConcurrentReconciles: max(options.Concurrency, 1)}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the TLS controller: %w", err)
	}
	return nil
}

// clusterOfPod: pods belong to StatefulSets and ReplicaSets, so they are found by label.
func clusterOfPod(_ context.Context, pod client.Object) []ctrl.Request {
	cluster := pod.GetLabels()[desired.ClusterLabel]
	if cluster == "" {
		return nil
	}
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: pod.GetNamespace(), Name: cluster}}}
}

func (r *Reconciler) now() time.Time { return r.options.Now() }

// Reconcile observes, decides and acts until there is nothing to do or
// somebody to wait for, and tells the result.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var cluster v1beta1.PostgresCluster
	err := r.client.Get(ctx, request.NamespacedName, &cluster)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.letGo(ctx, request.NamespacedName)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading PostgresCluster %s: %w", request.NamespacedName, err)
	}
	if !cluster.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	v, plan, failure := r.rotate(ctx, &cluster)
	if v == nil {
		return ctrl.Result{}, failure
	}
	if apierrors.IsConflict(failure) || apierrors.IsAlreadyExists(failure) {
		log.FromContext(ctx).V(1).Info("the world moved on, looking again", "because", failure.Error())
		return ctrl.Result{RequeueAfter: retryMin / 10}, nil
	}
	if err := r.writeStatus(ctx, v, plan, failure); err != nil {
		return ctrl.Result{}, err
	}
	if failure != nil {
		return ctrl.Result{}, failure
	}
	return ctrl.Result{RequeueAfter: r.pause(request.NamespacedName, v, plan)}, nil
}

// rotate executes plans until one has no step.
func (r *Reconciler) rotate(ctx context.Context, cluster *v1beta1.PostgresCluster) (*view, rotation.Plan, error) {
	var plan rotation.Plan
	var v *view
	for range maxRounds {
		seen, err := r.observe(ctx, cluster)
		if err != nil {
			return v, plan, err
		}
		v = seen
		if plan, err = rotation.Next(v.policy, v.observed); err != nil {
			return v, plan, err
		}
		if len(plan.Steps) == 0 {
			return v, plan, nil
		}
		for _, step := range plan.Steps {
			log.FromContext(ctx).Info("step", "step", step.String())
		}
		if err := r.execute(ctx, v, plan); err != nil {
			return v, plan, err
		}
	}
	return v, plan, fmt.Errorf("after %d rounds there are still steps to take, the next is %s", maxRounds, plan.Steps[0])
}

// pause returns how long until the plan changes by itself or a blocker is looked at again.
func (r *Reconciler) pause(cluster types.NamespacedName, v *view, plan rotation.Plan) time.Duration {
	retry := r.retries.after(cluster, len(plan.Blockers) > 0)
	if plan.Wake.IsZero() {
		return retry
	}
	wake := max(plan.Wake.Sub(r.now()), time.Millisecond)
	if retry == 0 {
		return wake
	}
	return min(wake, retry)
}

// letGo releases the Secrets of authorities whose cluster is gone; the garbage
// collector has deleted them and their finalizers hold them.
func (r *Reconciler) letGo(ctx context.Context, name types.NamespacedName) error {
	r.agents.keepOnly(name, nil)
	r.proofs.keepOnly(name, nil)
	r.retries.after(name, false)
	var secrets corev1.SecretList
	if err := r.live.List(ctx, &secrets, client.InNamespace(name.Namespace),
		client.MatchingLabels(desired.ComponentLabels(name.Name, desired.TLSComponent))); err != nil {
		return fmt.Errorf("listing the Secrets of %s: %w", name, err)
	}
	var cluster v1beta1.PostgresCluster
	err := r.live.Get(ctx, name, &cluster)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading PostgresCluster %s: %w", name, err)
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		orphan := !secret.DeletionTimestamp.IsZero() && (apierrors.IsNotFound(err) || !metav1.IsControlledBy(secret, &cluster))
		if !orphan {
			continue
		}
		if err := r.removeFinalizer(ctx, secret); err != nil {
			return err
		}
	}
	return nil
}
