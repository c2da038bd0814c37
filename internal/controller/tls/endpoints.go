package tls

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/probe"
)

// endpointsOf are the ports of a pod that are to be proven now. PostgreSQL and
// PgBouncer count once they are ready: until then they serve nothing, and they
// start with what is installed.
func endpointsOf(cluster *v1beta1.PostgresCluster, pod *corev1.Pod) []evidence.Endpoint {
	agent := evidence.Endpoint{Name: "agent", Port: agentapi.AgentPort, Protocol: probe.HTTPS}
	if pod.Labels[desired.ComponentLabel] == desired.PoolerComponent {
		endpoints := []evidence.Endpoint{agent}
		if pooler := desired.Pooler(cluster); pooler != nil && containerReady(pod, desired.PoolerContainer) {
			endpoints = append(endpoints, evidence.Endpoint{Name: "pgbouncer", Port: desired.PoolerPort(pooler), Protocol: probe.PGBouncer})
		}
		return endpoints
	}
	endpoints := []evidence.Endpoint{agent, {Name: "patroni", Port: agentapi.PatroniPort, Protocol: probe.HTTPS}}
	if containerReady(pod, desired.DatabaseContainer) {
		endpoints = append(endpoints, evidence.Endpoint{
			Name: "postgres", Port: agentapi.PostgresPort, Protocol: probe.Postgres, User: agentapi.OperatorIdentity,
		})
	}
	return endpoints
}

// serverName is the name under which the operator verifies a pod.
func serverName(cluster *v1beta1.PostgresCluster, pod *corev1.Pod) string {
	if pod.Labels[desired.ComponentLabel] == desired.PoolerComponent {
		return desired.ServiceHost(desired.PoolerName(cluster.Name), cluster.Namespace)
	}
	return desired.PodHost(cluster, pod.Name)
}
