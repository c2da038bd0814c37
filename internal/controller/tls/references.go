package tls

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/desired"
)

// referenceIndex is the name of the index.
const referenceIndex = "pgtls.references"

// referencesIn is the index.
func referencesIn(object client.Object) []string {
	cluster, ok := object.(*v1beta1.PostgresCluster)
	if !ok {
		return nil
	}
	return wanted.References(cluster)
}

// watchReferences has a controller look at a cluster again when something that it names changes.
func watchReferences(ctx context.Context, mgr manager.Manager, namespaces []string, b *builder.Builder) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1beta1.PostgresCluster{}, referenceIndex, referencesIn)
	if err != nil {
		return fmt.Errorf("indexing clusters by what they name: %w", err)
	}
	names, err := namesCache(mgr, namespaces)
	if err != nil {
		return err
	}
	// What bears the label of a cluster is in the manager's cache already.
	for kind, labelled := range map[string]client.Object{wanted.SecretKind: &corev1.Secret{}, wanted.ConfigMapKind: &corev1.ConfigMap{}} {
		b.Watches(labelled, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []ctrl.Request {
			return referencing(ctx, mgr.GetClient(), kind, object)
		}))
		b.WatchesRawSource(source.Kind(names, metadataOf(kind), handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, object *metav1.PartialObjectMetadata) []ctrl.Request {
				return referencing(ctx, mgr.GetClient(), kind, object)
			})))
	}
	return nil
}

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return object
}

// namesCache holds the names of every Secret and ConfigMap that bears no cluster's label, and nothing else of them.
func namesCache(mgr manager.Manager, namespaces []string) (cache.Cache, error) {
	unlabelled, err := labels.NewRequirement(desired.ClusterLabel, selection.DoesNotExist, nil)
	if err != nil {
		return nil, fmt.Errorf("selecting Secrets and ConfigMaps: %w", err)
	}
	options := cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultLabelSelector: labels.NewSelector().Add(*unlabelled),
		DefaultTransform:     onlyName,
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	names, err := cache.New(mgr.GetConfig(), options)
	if err != nil {
		return nil, fmt.Errorf("setting up the watch of Secrets and ConfigMaps: %w", err)
	}
	if err := mgr.Add(names); err != nil {
		return nil, fmt.Errorf("setting up the watch of Secrets and ConfigMaps: %w", err)
	}
	return names, nil
}

// onlyName keeps what the index and the watch need: a namespace may have thousands of Secrets that no cluster names.
func onlyName(object any) (any, error) {
	whole, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	return &metav1.PartialObjectMetadata{TypeMeta: whole.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: whole.Namespace, Name: whole.Name, UID: whole.UID, ResourceVersion: whole.ResourceVersion,
	}}, nil
}

// referencing are the clusters that name an object. A failed look-up is no error: the object is read again with the next
// round of the cluster.
func referencing(ctx context.Context, reader client.Reader, kind string, object client.Object) (requests []ctrl.Request) {
	var clusters v1beta1.PostgresClusterList
	if err := reader.List(ctx, &clusters, client.InNamespace(object.GetNamespace()),
		client.MatchingFields{referenceIndex: wanted.ReferenceKey(kind, object.GetName())}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "looking for the clusters that name it", "kind", kind, "name", object.GetName())
		return nil
	}
	for i := range clusters.Items {
		requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: clusters.Items[i].Name}})
	}
	return requests
}
