package cluster

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/denial"
	"pgtls.dev/pgtls/internal/controller/cluster/memo"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// Options of the controller.
type Options struct {
	Settings desired.Settings
	Now      func() time.Time
	// Clusters reconciled side by side; 0 means 4. A round may wait for Patroni for a minute.
	Concurrency int
}

const (
	name               = "cluster"
	fieldOwner         = client.FieldOwner("pgtls-cluster")
	defaultConcurrency = 4
	// reportPatience is how long a state may last that goes by itself, before it stands in the status.
	reportPatience             = 5 * time.Second
	reportingController string = "pgtls.dev/cluster"
)

// SetupWithManager adds the controller to the manager, whose cache holds what bears desired.ClusterLabel.
func SetupWithManager(m manager.Manager, options Options) error {
	c := &reconciler{
		client: m.GetClient(),
		applier: &kube.Applier{
			Client: m.GetClient(), Live: m.GetAPIReader(), Owner: fieldOwner, ClusterLabel: desired.ClusterLabel,
			MayWrite: kube.NewNamespaces(m.GetAPIReader(), options.Now).MayWrite,
		},
		events:   m.GetEventRecorder(reportingController),
		settings: options.Settings,
		connect:  wire{},
		restarts: decide.NewRestarts(),
		attempts: attempt.NewMemory(),
		denials:  denials{memory: denial.NewMemory(), events: denial.ReadEvents(m.GetAPIReader()), quotas: denial.ReadQuotas(m.GetAPIReader())},
		known:    memo.NewCredentials(),
		rendered: memo.NewRenderings(),
		now:      options.Now,
		patience: reportPatience,
	}
	concurrency := options.Concurrency
	if concurrency == 0 {
		concurrency = defaultConcurrency
	}
	b := builder.ControllerManagedBy(m).Named(name).
		For(&v1beta1.PostgresCluster{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency})
	// By label and not by owner: a restored object has none, an earlier cluster's has another, and Patroni's ConfigMaps and pods have none of ours.
	for _, owned := range []client.Object{
		&appsv1.StatefulSet{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.Secret{}, &corev1.PersistentVolumeClaim{},
		&corev1.ServiceAccount{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}, &networkingv1.NetworkPolicy{},
	} {
		b = b.Watches(owned, kube.Settling(handler.EnqueueRequestsFromMapFunc(clusterOf)), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
	}
	b = b.Watches(&policyv1.PodDisruptionBudget{}, kube.Settling(handler.EnqueueRequestsFromMapFunc(clusterOf)), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	b = b.Watches(&corev1.ConfigMap{}, kube.Settling(handler.EnqueueRequestsFromMapFunc(clusterOf)), builder.WithPredicates(configMapChanges()))
	b = b.Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(clusterOf), builder.WithPredicates(podChanges()))
	if err := b.Complete(c); err != nil {
		return fmt.Errorf("setting up controller %s: %w", name, err)
	}
	return nil
}

func clusterOf(_ context.Context, object client.Object) []reconcile.Request {
	cluster := object.GetLabels()[desired.ClusterLabel]
	if cluster == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: cluster}}}
}

// configMapChanges leaves out Patroni's updates of its own ConfigMaps, which come with every loop.
func configMapChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() &&
			e.ObjectNew.GetLabels()[desired.PatroniLabel] == ""
	}}
}

// podChanges leaves out annotations: Patroni writes its state there with every loop, and the TLS controller its wishes.
func podChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(*corev1.Pod)
		after, okAfter := e.ObjectNew.(*corev1.Pod)
		return !okBefore || !okAfter || podFactsDiffer(before, after)
	}}
}

func podFactsDiffer(before, after *corev1.Pod) bool {
	return !maps.Equal(before.Labels, after.Labels) ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil) ||
		before.Status.Phase != after.Status.Phase ||
		decide.PodReady(before) != decide.PodReady(after) ||
		databaseStarted(before) != databaseStarted(after)
}
