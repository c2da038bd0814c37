package desired

import (
	"encoding/json"
	"fmt"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/patroni/patroniyaml"
	"pgtls.dev/pgtls/internal/pgbouncer"
)

// patroniConfig renders patroni.yaml; bootstrap is the part that only the making of a new cluster reads.
func patroniConfig(cluster *v1beta1.PostgresCluster, bootstrap bool) (string, error) {
	config := patroniyaml.Config{
		Scope:           PatroniScope(cluster.Name),
		Cluster:         cluster.Name,
		Namespace:       cluster.Namespace,
		PrimaryLabel:    PrimaryRole(cluster.Spec.PostgresVersion),
		PostgresVersion: cluster.Spec.PostgresVersion,
		MinTLS:          MinimumTLSVersion(cluster),
		Bootstrap:       bootstrap,
	}
	if bootstrap {
		if err := setDynamic(&config, cluster.Spec.Patroni); err != nil {
			return "", err
		}
	}
	return patroniyaml.Render(config)
}

func setDynamic(config *patroniyaml.Config, spec *v1beta1.PatroniSpec) error {
	if spec == nil {
		return nil
	}
	config.LeaderLeaseSeconds = int(ptr.Deref(spec.LeaderLeaseDurationSeconds, 0))
	config.SyncPeriodSeconds = int(ptr.Deref(spec.SyncPeriodSeconds, 0))
	if spec.DynamicConfiguration == nil || len(spec.DynamicConfiguration.Raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(spec.DynamicConfiguration.Raw, &config.Dynamic); err != nil {
		return fmt.Errorf("spec.patroni.dynamicConfiguration: is not an object; write Patroni's dynamic configuration as YAML: %w", err)
	}
	return nil
}

// DynamicConfiguration is the whole of what Patroni's REST API should give at /config: the same that a new cluster starts with.
func DynamicConfiguration(cluster *v1beta1.PostgresCluster) (map[string]any, error) {
	text, err := patroniConfig(cluster, true)
	if err != nil {
		return nil, err
	}
	var document struct {
		Bootstrap struct {
			DCS map[string]any `json:"dcs"`
		} `json:"bootstrap"`
	}
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, fmt.Errorf("reading the rendered patroni.yaml: %w", err)
	}
	return document.Bootstrap.DCS, nil
}

func postBootstrap() string { return patroniyaml.PostBootstrap() }

func poolerINI(cluster *v1beta1.PostgresCluster) (string, error) {
	pooler := Pooler(cluster)
	return pgbouncer.RenderINI(pgbouncer.INI{
		PrimaryHost: ServiceHost(PrimaryService(cluster.Name), cluster.Namespace),
		Port:        uint16(PoolerPort(pooler)), //nolint:gosec // the CRD bounds it
		MinTLS:      MinimumTLSVersion(cluster),
		Global:      pooler.Config.Global,
	})
}
