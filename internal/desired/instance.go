package desired

import (
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Instance is one PostgreSQL of the cluster.
type Instance struct {
	Name  string // of the StatefulSet; its pod is PodName
	Set   *v1beta1.InstanceSetSpec
	Index int
}

// Instances that the spec wants, in its order.
func Instances(cluster *v1beta1.PostgresCluster) []Instance {
	var instances []Instance
	for i := range cluster.Spec.Instances {
		set := &cluster.Spec.Instances[i]
		for index := range int(ptr.Deref(set.Replicas, 1)) {
			instances = append(instances, Instance{Name: InstanceName(cluster.Name, set.Name, index), Set: set, Index: index})
		}
	}
	return instances
}

// Pooler returns the spec of PgBouncer, or nil when there is none.
func Pooler(cluster *v1beta1.PostgresCluster) *v1beta1.PGBouncerSpec {
	if cluster.Spec.Proxy == nil {
		return nil
	}
	return cluster.Spec.Proxy.PGBouncer
}

// PoolerPort is the port that PgBouncer listens on.
func PoolerPort(pooler *v1beta1.PGBouncerSpec) int32 { return ptr.Deref(pooler.Port, 5432) }

// Users that the spec wants; by default one with a database, both named after the cluster.
func Users(cluster *v1beta1.PostgresCluster) []v1beta1.UserSpec {
	if len(cluster.Spec.Users) > 0 {
		return cluster.Spec.Users
	}
	return []v1beta1.UserSpec{{Name: cluster.Name, Databases: []v1beta1.DatabaseName{v1beta1.DatabaseName(cluster.Name)}}}
}

// MinimumTLSVersion is "1.2" or "1.3".
func MinimumTLSVersion(cluster *v1beta1.PostgresCluster) string {
	if cluster.Spec.TLS == nil || cluster.Spec.TLS.MinimumVersion == "" {
		return "1.3"
	}
	return cluster.Spec.TLS.MinimumVersion
}
