package desired

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
)

// NetworkPolicies limit what comes in. PostgreSQL and PgBouncer are there for the applications of any namespace, so their
// ports are open; which client may connect is pg_hba's matter. The agent and the Patroni REST API are reached by the operator, the
// latter by the cluster's other instances too. The kubelet's probes come from the pod's node, which no policy keeps out.
func NetworkPolicies(cluster *v1beta1.PostgresCluster, settings Settings) []*networkingv1.NetworkPolicy {
	operator := operatorPeers(settings)
	policies := []*networkingv1.NetworkPolicy{
		policy(cluster, InstancesName(cluster.Name), InstanceComponent,
			ingress(nil, agentapi.PostgresPort),
			ingress(operator, agentapi.AgentPort),
			ingress(instancesAnd(cluster, operator), agentapi.PatroniPort)),
	}
	if pooler := Pooler(cluster); pooler != nil {
		policies = append(policies, policy(cluster, PoolerName(cluster.Name), PoolerComponent,
			ingress(nil, PoolerPort(pooler)),
			ingress(operator, agentapi.AgentPort)))
	}
	return policies
}

// operatorPeers is nil, which means every peer, if the operator's namespace is unknown; mutual TLS still protects the port.
func operatorPeers(settings Settings) []networkingv1.NetworkPolicyPeer {
	if settings.OperatorNamespace == "" {
		return nil
	}
	return []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: labelSelector(map[string]string{corev1.LabelMetadataName: settings.OperatorNamespace}),
	}}
}

func instancesAnd(cluster *v1beta1.PostgresCluster, operator []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	if operator == nil {
		return nil
	}
	instances := networkingv1.NetworkPolicyPeer{PodSelector: labelSelector(ComponentLabels(cluster.Name, InstanceComponent))}
	return append([]networkingv1.NetworkPolicyPeer{instances}, operator...)
}

func ingress(from []networkingv1.NetworkPolicyPeer, port int32) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{
		From:  from,
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(portNumber(port))}},
	}
}

func policy(cluster *v1beta1.PostgresCluster, name, component string, rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	labels := ComponentLabels(cluster.Name, component)
	return &networkingv1.NetworkPolicy{
		ObjectMeta: Meta(cluster, name, labels),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: *labelSelector(labels),
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     rules,
		},
	}
}
