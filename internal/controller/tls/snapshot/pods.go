package snapshot

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/desired"
)

// ServerName is the name under which the operator verifies a pod.
func ServerName(cluster *v1beta1.PostgresCluster, pod *corev1.Pod) string {
	if pod.Labels[desired.ComponentLabel] == desired.PoolerComponent {
		return desired.ServiceHost(desired.PoolerName(cluster.Name), cluster.Namespace)
	}
	return desired.PodHost(cluster, pod.Name)
}

// RunOf names one run of a pod.
func RunOf(pod *corev1.Pod) evidence.Run {
	return evidence.Run{UID: pod.UID, Address: pod.Status.PodIP}
}

// EndpointName is how the status calls a port of a pod.
func EndpointName(pod, endpoint string) string { return pod + ":" + endpoint }
