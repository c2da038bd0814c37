package desired

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
)

// DisruptionBudgets let one pod of a component go at a time. A lone instance may go too: an administrator that drains a node
// means it, and a budget of none would only block the drain.
func DisruptionBudgets(cluster *v1beta1.PostgresCluster) []*policyv1.PodDisruptionBudget {
	budgets := []*policyv1.PodDisruptionBudget{budget(cluster, InstancesName(cluster.Name), InstanceComponent)}
	if Pooler(cluster) != nil {
		budgets = append(budgets, budget(cluster, PoolerName(cluster.Name), PoolerComponent))
	}
	return budgets
}

func budget(cluster *v1beta1.PostgresCluster, name, component string) *policyv1.PodDisruptionBudget {
	labels := ComponentLabels(cluster.Name, component)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: Meta(cluster, name, labels),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       labelSelector(labels),
		},
	}
}
