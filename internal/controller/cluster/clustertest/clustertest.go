// Package clustertest builds clusters and pods for the tests of the cluster controller.
package clustertest

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
)

// Hippo is a cluster of two instances in namespace zoo.
func Hippo(change ...func(*v1beta1.PostgresCluster)) *v1beta1.PostgresCluster {
	cluster := &v1beta1.PostgresCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo", UID: "uid-of-hippo", Generation: 1},
		Spec: v1beta1.PostgresClusterSpec{
			PostgresVersion: 17,
			Instances: []v1beta1.InstanceSetSpec{{
				Name: "00", Replicas: ptr.To[int32](2),
				DataVolumeClaimSpec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}},
		},
	}
	for _, c := range change {
		c(cluster)
	}
	return cluster
}

// WithPooler gives the cluster two poolers.
func WithPooler(cluster *v1beta1.PostgresCluster) {
	cluster.Spec.Proxy = &v1beta1.ProxySpec{PGBouncer: &v1beta1.PGBouncerSpec{Replicas: ptr.To[int32](2)}}
}

// Settings are those of an operator that has an image for each program.
func Settings() desired.Settings {
	return desired.Settings{
		ClusterDomain: "cluster.local",
		Images:        desired.Images{Postgres: map[int]string{17: "postgres-17"}, PGBouncer: "pgbouncer", Agent: "agent"},
	}
}

// Pod of an instance as Kubernetes has it.
func Pod(instance string, change ...func(*corev1.Pod)) *corev1.Pod {
	labels := desired.ComponentLabels("hippo", desired.InstanceComponent)
	labels[desired.InstanceLabel] = instance
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: desired.PodName(instance), Labels: labels}}
	for _, c := range change {
		c(p)
	}
	return p
}

// Ready makes a pod one that runs and is ready.
func Ready(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: desired.DatabaseContainer, Started: ptr.To(true)}}
}

// InRole labels a pod with the role that Patroni gives it.
func InRole(role string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[desired.RoleLabel] = role }
}

// Metadata with one label.
func Metadata(key, value string) *v1beta1.Metadata {
	return &v1beta1.Metadata{Labels: map[string]string{key: value}}
}

// Dynamic is Patroni's dynamic configuration as a user writes it, in JSON.
func Dynamic(json string) func(*v1beta1.PostgresCluster) {
	return func(cluster *v1beta1.PostgresCluster) {
		cluster.Spec.Patroni = &v1beta1.PatroniSpec{DynamicConfiguration: &apiextensionsv1.JSON{Raw: []byte(json)}}
	}
}
