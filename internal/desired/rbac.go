package desired

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
)

// ServiceAccount of the instances.
func ServiceAccount(cluster *v1beta1.PostgresCluster) *corev1.ServiceAccount {
	no := false
	return &corev1.ServiceAccount{
		ObjectMeta:                   rbacMeta(cluster),
		AutomountServiceAccountToken: &no,
	}
}

// Role is what Patroni needs. A list or watch cannot be limited to names, and neither can the making of a
// ConfigMap; everything else is limited to Patroni's own ConfigMaps and the cluster's own pods. pods are the names of
// those that exist or are wanted.
func Role(cluster *v1beta1.PostgresCluster, pods []string) *rbacv1.Role {
	core := []string{""}
	return &rbacv1.Role{
		ObjectMeta: rbacMeta(cluster),
		Rules: []rbacv1.PolicyRule{
			{APIGroups: core, Resources: []string{"configmaps"}, Verbs: []string{"create", "list", "watch"}},
			{APIGroups: core, Resources: []string{"configmaps"}, Verbs: []string{"get", "patch", "update"}, ResourceNames: PatroniConfigMaps(cluster.Name)},
			{APIGroups: core, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
			{APIGroups: core, Resources: []string{"pods"}, Verbs: []string{"get", "patch", "update"}, ResourceNames: pods},
		},
	}
}

// RoleBinding of Role to ServiceAccount.
func RoleBinding(cluster *v1beta1.PostgresCluster) *rbacv1.RoleBinding {
	name := ServiceAccountName(cluster.Name)
	return &rbacv1.RoleBinding{
		ObjectMeta: rbacMeta(cluster),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: cluster.Namespace}},
	}
}

func rbacMeta(cluster *v1beta1.PostgresCluster) metav1.ObjectMeta {
	return Meta(cluster, ServiceAccountName(cluster.Name), ComponentLabels(cluster.Name, InstanceComponent))
}
