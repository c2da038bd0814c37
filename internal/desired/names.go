package desired

import (
	"fmt"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

// Labels and annotations. Nothing else under pgtls.dev/ is on any object but those of internal/delivery/kube.
const (
	ClusterLabel     = "pgtls.dev/cluster"      // the cluster's name; on everything
	ComponentLabel   = "pgtls.dev/component"    // one of the components below
	InstanceSetLabel = "pgtls.dev/instance-set" // name of the instance's set
	InstanceLabel    = "pgtls.dev/instance"     // name of the instance
	UserLabel        = "pgtls.dev/user"         // name of the user, on its Secret
	PatroniLabel     = "pgtls.dev/patroni"      // Patroni's scope, on its pods and ConfigMaps
	RoleLabel        = "role"                   // written by Patroni: PrimaryRole or ReplicaRole

	ActivateAnnotation   = "pgtls.dev/activate"    // on pods, by the TLS controller: the revision to use
	PromptAnnotation     = "pgtls.dev/prompted"    // on StatefulSets and Deployments whose pods were denied: when Kubernetes was prompted to try again
	ConfigHashAnnotation = "pgtls.dev/config-hash" // on pod templates: a changed configuration makes new pods
)

// Components.
const (
	InstanceComponent = party.InstanceComponent
	PoolerComponent   = party.PoolerComponent
	TLSComponent      = "tls"
	UserComponent     = "user"
)

// ReplicaRole is the role that Patroni writes on the pod of a replica.
const ReplicaRole = "replica"

// PrimaryRole is the role that Patroni writes on the primary's pod. Patroni 3.0,
// which comes with PostgreSQL 15 in bookworm, knows no other word than master.
func PrimaryRole(postgresVersion int) string {
	if postgresVersion < 17 {
		return "master"
	}
	return "primary"
}

// IsPrimaryRole knows both words.
func IsPrimaryRole(role string) bool { return role == "primary" || role == "master" }

// ServiceName of the Service that leads to parties.
func ServiceName(cluster string, to party.Service) string {
	switch to {
	case party.ToReplicas:
		return ReplicaService(cluster)
	case party.ToPoolers:
		return PoolerName(cluster)
	case party.ToPrimary:
	}
	return PrimaryService(cluster)
}

// Names of a cluster's objects.

func PrimaryService(cluster string) string     { return cluster + "-primary" }
func ReplicaService(cluster string) string     { return cluster + "-replicas" }
func PodService(cluster string) string         { return cluster + "-pods" }
func PoolerName(cluster string) string         { return cluster + "-pgbouncer" } // Deployment, Service, budget, policy
func InstancesName(cluster string) string      { return cluster + "-instances" } // budget, policy
func ConfigName(cluster string) string         { return cluster + "-config" }
func PoolerConfigName(cluster string) string   { return cluster + "-pgbouncer-config" }
func ServiceAccountName(cluster string) string { return cluster + "-instance" } // and Role and RoleBinding
func CAConfigMap(cluster string) string        { return cluster + "-ca" }
func TrustRecord(cluster string) string        { return cluster + "-trust" }
func OperatorMaterial(cluster string) string   { return cluster + "-operator-tls" }
func PatroniScope(cluster string) string       { return cluster + "-ha" }

// PatroniConfigMaps are those that Patroni makes for its scope.
func PatroniConfigMaps(cluster string) []string {
	scope := PatroniScope(cluster)
	return []string{scope + "-config", scope + "-failover", scope + "-leader", scope + "-sync"}
}

// InstanceName of the instance with this index in a set.
func InstanceName(cluster, set string, index int) string {
	return fmt.Sprintf("%s-%s-%d", cluster, set, index)
}

// PodName of an instance.
func PodName(instance string) string { return instance + "-0" }

// VolumeName of an instance's data volume claim.
func VolumeName(instance string) string { return instance + "-pgdata" }

// MaterialSecret of a party: an instance, or PoolerName(cluster) for the poolers.
func MaterialSecret(party string) string { return party + "-tls" }

// AuthoritySecret of a generation; domain is server or client.
func AuthoritySecret(cluster, domain string, generation int) string {
	return fmt.Sprintf("%s-%s-ca-g%d", cluster, domain, generation)
}

// UserSecret with a user's connection facts.
func UserSecret(cluster, user string) string { return cluster + "-pguser-" + user }

// UserCertificateSecret with a user's client certificate.
func UserCertificateSecret(cluster, user string) string { return UserSecret(cluster, user) + "-cert" }

// ClientCertificateLedger is what was issued to users and has not ended.
func ClientCertificateLedger(cluster string) string { return cluster + "-client-certificates" }

// ServiceHost is a Service's name as clients of any namespace reach it.
func ServiceHost(service, namespace string) string { return service + "." + namespace + ".svc" }

// PodHost is the DNS name of an instance's pod.
func PodHost(cluster *v1beta1.PostgresCluster, pod string) string {
	return pod + "." + ServiceHost(PodService(cluster.Name), cluster.Namespace)
}

// PatroniURL of an instance's pod: the agent's TLS in front of the REST API.
func PatroniURL(cluster *v1beta1.PostgresCluster, pod string) string {
	return fmt.Sprintf("https://%s:%d", PodHost(cluster, pod), agentapi.PatroniPort)
}

// ClusterLabels select everything of a cluster.
func ClusterLabels(cluster string) map[string]string {
	return map[string]string{ClusterLabel: cluster}
}

// ComponentLabels select a component of a cluster.
func ComponentLabels(cluster, component string) map[string]string {
	return map[string]string{ClusterLabel: cluster, ComponentLabel: component}
}
