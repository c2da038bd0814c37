package gather

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
)

// ErrGone says that there is no such cluster any more, or that it is being deleted.
var ErrGone = errors.New("the cluster is gone")

// Source says where an observation is read from.
type Source bool

// The sources.
const (
	// FromCache reads what the manager's cache holds, with the own writes laid over it. Objects whose labels were taken away are not in it,
	// and what others have written a moment ago may not be.
	FromCache Source = false
	// PastCache asks the API server, also for each name that is looked for.
	PastCache Source = true
)

// ReadCluster reads a cluster. Errors: ErrGone, and those of the API server.
func (g *Gatherer) ReadCluster(ctx context.Context, name types.NamespacedName, source Source) (*v1beta1.PostgresCluster, error) {
	cluster := &v1beta1.PostgresCluster{ObjectMeta: nameOnly(name)}
	found, err := g.get(ctx, name, cluster, source)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading PostgresCluster %s: %w", name, err)
	case !found || !cluster.DeletionTimestamp.IsZero():
		return nil, ErrGone
	}
	return cluster, nil
}

// get reads one of a cluster's objects into object, which has its name. false: there is none.
func (g *Gatherer) get(ctx context.Context, cluster types.NamespacedName, object client.Object, source Source) (found bool, err error) {
	reader, key := g.Cached, client.ObjectKeyFromObject(object)
	if source == PastCache {
		reader = g.Live
	}
	err = reader.Get(ctx, key, object)
	if client.IgnoreNotFound(err) != nil {
		return false, err
	}
	if source == PastCache {
		return !apierrors.IsNotFound(err), nil
	}
	if err != nil {
		object.SetNamespace(key.Namespace)
		object.SetName(key.Name)
	}
	return overlaid(g.Writes, cluster, object, err == nil), nil
}

// overlaid lays the own write over an object that was read from the cache, or was not found there.
func overlaid(writes *kube.Writes, cluster types.NamespacedName, object client.Object, cached bool) (found bool) {
	var known client.Object
	if cached {
		known = object
	}
	latest := writes.Latest(cluster, object, known)
	if latest == object {
		return true // and not copied into itself
	}
	switch latest := latest.(type) {
	case nil:
		return false
	case *v1beta1.PostgresCluster:
		latest.DeepCopyInto(object.(*v1beta1.PostgresCluster))
	case *corev1.ConfigMap:
		latest.DeepCopyInto(object.(*corev1.ConfigMap))
	}
	return true
}

// secretsLabelled lists the Secrets that bear some of a cluster's labels.
func (v *look) secretsLabelled(ctx context.Context, labels map[string]string) ([]corev1.Secret, error) {
	var list corev1.SecretList
	if err := v.list(ctx, &list, labels); err != nil || v.source == PastCache {
		return list.Items, err
	}
	return laidOver[corev1.Secret](v.Writes, client.ObjectKeyFromObject(v.Cluster), list.Items), nil
}

// podsLabelled lists the pods that bear some of a cluster's labels.
func (v *look) podsLabelled(ctx context.Context, labels map[string]string) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := v.list(ctx, &list, labels); err != nil || v.source == PastCache {
		return list.Items, err
	}
	return laidOver[corev1.Pod](v.Writes, client.ObjectKeyFromObject(v.Cluster), list.Items), nil
}

// nameOnly is the metadata of an object that is looked for.
func nameOnly(name types.NamespacedName) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}
}

// list lists by label. In the cache the index is asked besides: a selection by label alone looks at every object of the namespace.
func (v *look) list(ctx context.Context, list client.ObjectList, labels map[string]string) error {
	options := []client.ListOption{client.InNamespace(v.Cluster.Namespace), client.MatchingLabels(labels)}
	if v.source == PastCache {
		return v.Live.List(ctx, list, options...)
	}
	return v.Cached.List(ctx, list, append(options, client.MatchingFields{kube.ClusterIndex: v.Cluster.Name})...)
}

// laidOver lays the own writes over what a cache holds.
func laidOver[T any, P interface {
	*T
	client.Object
}](writes *kube.Writes, cluster types.NamespacedName, items []T) []T {
	cached := make([]client.Object, len(items))
	for i := range items {
		cached[i] = P(&items[i])
	}
	out := make([]T, 0, len(items))
	for _, object := range writes.Overlay(cluster, P(new(T)), cached) {
		if typed, ok := object.(P); ok {
			out = append(out, *typed)
		}
	}
	return out
}
