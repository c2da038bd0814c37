package desired

import (
	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/patroni/patroniyaml"
)

// InstanceConfig is the ConfigMap with what every instance of the cluster reads.
func InstanceConfig(cluster *v1beta1.PostgresCluster) (*corev1.ConfigMap, error) {
	patroni, err := patroniConfig(cluster, true)
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{
		ObjectMeta: Meta(cluster, ConfigName(cluster.Name), ComponentLabels(cluster.Name, InstanceComponent)),
		Data:       map[string]string{"patroni.yaml": patroni, "post-bootstrap.sql": postBootstrap(), "postgresql.conf": patroniyaml.PostgresConf(cluster.Spec.PostgresVersion)},
	}, nil
}

// PoolerConfig is the ConfigMap of PgBouncer. The cluster must have a pooler.
func PoolerConfig(cluster *v1beta1.PostgresCluster) (*corev1.ConfigMap, error) {
	ini, err := poolerINI(cluster)
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{
		ObjectMeta: Meta(cluster, PoolerConfigName(cluster.Name), ComponentLabels(cluster.Name, PoolerComponent), Pooler(cluster).Metadata),
		Data:       map[string]string{"pgbouncer.ini": ini},
	}, nil
}

// InstanceConfigHash is what an instance's pod is replaced for. It leaves out what only the making of a new cluster reads: a change of the dynamic configuration
// goes through Patroni's REST API and needs no new pod.
func InstanceConfigHash(cluster *v1beta1.PostgresCluster) (string, error) {
	patroni, err := patroniConfig(cluster, false)
	return shortHash(patroni + patroniyaml.PostgresConf(cluster.Spec.PostgresVersion)), err
}

// HashOfInstanceConfig is InstanceConfigHash from what InstanceConfig returned: to render it takes as long as all else of a reconciliation.
func HashOfInstanceConfig(cluster *v1beta1.PostgresCluster, config *corev1.ConfigMap) string {
	return shortHash(patroniyaml.WithoutBootstrap(config.Data["patroni.yaml"]) + patroniyaml.PostgresConf(cluster.Spec.PostgresVersion))
}

func poolerConfigHash(cluster *v1beta1.PostgresCluster) (string, error) {
	ini, err := poolerINI(cluster)
	return shortHash(ini), err
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
