package desired

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Meta of an object of the cluster: the user's metadata, the operator's labels over it, and the cluster as controller.
// Later metadata wins over earlier.
func Meta(cluster *v1beta1.PostgresCluster, name string, labels map[string]string, metadata ...*v1beta1.Metadata) metav1.ObjectMeta {
	meta := podMeta(cluster, labels, metadata...)
	meta.Name = name
	meta.Namespace = cluster.Namespace
	meta.OwnerReferences = []metav1.OwnerReference{OwnerReference(cluster)}
	return meta
}

// OwnerReference that makes the cluster an object's controller.
func OwnerReference(cluster *v1beta1.PostgresCluster) metav1.OwnerReference {
	return *metav1.NewControllerRef(cluster, v1beta1.GroupVersion.WithKind("PostgresCluster"))
}

func podMeta(cluster *v1beta1.PostgresCluster, labels map[string]string, metadata ...*v1beta1.Metadata) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}
	for _, m := range append([]*v1beta1.Metadata{cluster.Spec.Metadata}, metadata...) {
		if m != nil {
			maps.Copy(meta.Labels, m.Labels)
			maps.Copy(meta.Annotations, m.Annotations)
		}
	}
	maps.Copy(meta.Labels, labels)
	if len(meta.Annotations) == 0 {
		meta.Annotations = nil
	}
	return meta
}

func instanceLabels(cluster string, instance Instance) map[string]string {
	labels := ComponentLabels(cluster, InstanceComponent)
	labels[InstanceSetLabel] = instance.Set.Name
	labels[InstanceLabel] = instance.Name
	return labels
}
