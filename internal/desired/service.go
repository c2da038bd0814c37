package desired

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
)

// Services of the cluster.
func Services(cluster *v1beta1.PostgresCluster) []*corev1.Service {
	services := []*corev1.Service{
		exposed(cluster, PrimaryService(cluster.Name), cluster.Spec.Service, byRole(cluster, PrimaryRole(cluster.Spec.PostgresVersion)), postgresServicePort()),
		exposed(cluster, ReplicaService(cluster.Name), cluster.Spec.ReplicaService, byRole(cluster, ReplicaRole), postgresServicePort()),
		podService(cluster),
	}
	if pooler := Pooler(cluster); pooler != nil {
		services = append(services, exposed(cluster, PoolerName(cluster.Name), pooler.Service,
			ComponentLabels(cluster.Name, PoolerComponent), servicePort(poolerPort, PoolerPort(pooler), poolerPort)))
	}
	return services
}

func byRole(cluster *v1beta1.PostgresCluster, role string) map[string]string {
	selector := ComponentLabels(cluster.Name, InstanceComponent)
	selector[RoleLabel] = role
	return selector
}

func exposed(cluster *v1beta1.PostgresCluster, name string, spec *v1beta1.ServiceSpec, selector map[string]string, port corev1.ServicePort) *corev1.Service {
	if spec == nil {
		spec = &v1beta1.ServiceSpec{}
	}
	kind := spec.Type
	if kind == "" {
		kind = corev1.ServiceTypeClusterIP
	}
	if kind != corev1.ServiceTypeClusterIP {
		port.NodePort = ptr.Deref(spec.NodePort, 0)
	}
	return &corev1.Service{
		ObjectMeta: Meta(cluster, name, ComponentLabels(cluster.Name, selector[ComponentLabel]), spec.Metadata),
		Spec:       corev1.ServiceSpec{Type: kind, Selector: selector, Ports: []corev1.ServicePort{port}},
	}
}

// podService gives each instance's pod a name, also while it is not ready: a replica that starts must reach its primary.
func podService(cluster *v1beta1.PostgresCluster) *corev1.Service {
	labels := ComponentLabels(cluster.Name, InstanceComponent)
	return &corev1.Service{
		ObjectMeta: Meta(cluster, PodService(cluster.Name), labels),
		Spec: corev1.ServiceSpec{
			Type:                     corev1.ServiceTypeClusterIP,
			ClusterIP:                corev1.ClusterIPNone,
			PublishNotReadyAddresses: true,
			Selector:                 labels,
			Ports: []corev1.ServicePort{
				postgresServicePort(),
				servicePort(patroniPort, agentapi.PatroniPort, patroniPort),
				servicePort(agentPort, agentapi.AgentPort, agentPort),
			},
		},
	}
}

func postgresServicePort() corev1.ServicePort {
	return servicePort(postgresPort, agentapi.PostgresPort, postgresPort)
}

// servicePort sets the protocol, for it is part of the key by which the API server merges ports.
func servicePort(name string, port int32, target string) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: port, TargetPort: intstr.FromString(target), Protocol: corev1.ProtocolTCP}
}
