package decide

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
)

// Refusal finds what cannot work in a spec and what the CRD's rules cannot see. While there is one nothing of the
// cluster is changed: what runs goes on as it is.
func Refusal(cluster *v1beta1.PostgresCluster, settings desired.Settings) *Wait {
	for _, check := range []func(*v1beta1.PostgresCluster, desired.Settings) string{refuseDynamicConfiguration, refuseImages, refuseNames, refusePooler} {
		if message := check(cluster, settings); message != "" {
			return &Wait{Party: cluster.Name, Reason: SpecInvalid, Message: message}
		}
	}
	return nil
}

// operatorsOwn are the members of Patroni's dynamic configuration that TLS and authentication hang on,
// below postgresql.
var operatorsOwn = []string{"authentication", "pg_hba", "pg_ident", "connect_address", "listen", "proxy_address"}

// operatorsParameters are PostgreSQL parameters that the operator sets; those that start with ssl are too.
var operatorsParameters = []string{
	"listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions", "unix_socket_group",
	"password_encryption", "hba_file", "ident_file", "config_file", "data_directory", "external_pid_file",
}

// logParameters are PostgreSQL parameters that decide where its log goes and in which words: the agent counts refused handshakes in it.
var logParameters = []string{
	"logging_collector", "log_destination", "log_directory", "log_filename", "log_file_mode",
	"log_rotation_age", "log_rotation_size", "log_truncate_on_rotation", "lc_messages",
}

// patroniFields are set by fields of the spec.
var patroniFields = map[string]string{
	"ttl":       "spec.patroni.leaderLeaseDurationSeconds",
	"loop_wait": "spec.patroni.syncPeriodSeconds",
}

func refuseDynamicConfiguration(cluster *v1beta1.PostgresCluster, _ desired.Settings) string {
	const field = "spec.patroni.dynamicConfiguration"
	configuration, err := dynamicConfiguration(cluster)
	if err != nil {
		return fmt.Sprintf("%s: is not an object; write Patroni's dynamic configuration as YAML", field)
	}
	for _, key := range slices.Sorted(maps.Keys(patroniFields)) {
		if _, ok := configuration[key]; ok {
			return fmt.Sprintf("%s.%s: is set by %s; remove it here", field, key, patroniFields[key])
		}
	}
	postgresql, err := object(configuration, "postgresql")
	if err != nil {
		return fmt.Sprintf("%s.postgresql: is not an object; write it as YAML", field)
	}
	for _, key := range operatorsOwn {
		if _, ok := postgresql[key]; ok {
			return fmt.Sprintf("%s.postgresql.%s: TLS hangs on it, so it is the operator's; remove it", field, key)
		}
	}
	parameters, err := object(postgresql, "parameters")
	if err != nil {
		return fmt.Sprintf("%s.postgresql.parameters: is not an object; write it as YAML", field)
	}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		if strings.HasPrefix(strings.ToLower(key), "ssl") || slices.Contains(operatorsParameters, strings.ToLower(key)) {
			return fmt.Sprintf("%s.postgresql.parameters.%s: TLS hangs on it, so it is the operator's; remove it", field, key)
		}
		if remedy := refuseLogParameter(strings.ToLower(key), parameters[key]); remedy != "" {
			return fmt.Sprintf("%s.postgresql.parameters.%s: the agent counts refused handshakes in the log, so %s", field, key, remedy)
		}
	}
	return ""
}

// refuseLogParameter returns what is wrong with a parameter and what to do about it, or "".
func refuseLogParameter(name string, value any) string {
	if slices.Contains(logParameters, name) {
		return "it is the operator's; remove it"
	}
	level, _ := value.(string)
	if name == "log_min_messages" && slices.Contains([]string{"fatal", "panic"}, strings.ToLower(strings.TrimSpace(level))) {
		return "it must not be above log; set log, error or less"
	}
	return ""
}

func refuseImages(cluster *v1beta1.PostgresCluster, settings desired.Settings) string {
	version := cluster.Spec.PostgresVersion
	if cluster.Spec.Image == "" && settings.Images.Postgres[version] == "" {
		return fmt.Sprintf("spec.image: the operator has no image for PostgreSQL %d; set spec.image or the operator's RELATED_IMAGE_POSTGRES_%d", version, version)
	}
	if pooler := desired.Pooler(cluster); pooler != nil && pooler.Image == "" && settings.Images.PGBouncer == "" {
		return "spec.proxy.pgBouncer.image: the operator has no image for PgBouncer; set it or the operator's RELATED_IMAGE_PGBOUNCER"
	}
	if settings.Images.Agent == "" {
		return "the operator has no image for the agent; set its RELATED_IMAGE_AGENT"
	}
	return ""
}

// refuseNames finds two sets whose instances would get the same name,.
func refuseNames(cluster *v1beta1.PostgresCluster, _ desired.Settings) string {
	sets := map[string]string{}
	for _, instance := range desired.Instances(cluster) {
		if other, taken := sets[instance.Name]; taken {
			return fmt.Sprintf("spec.instances[].name: sets %q and %q both make an instance %s; rename one", other, instance.Set.Name, instance.Name)
		}
		sets[instance.Name] = instance.Set.Name
	}
	return ""
}

// refusePooler finds settings of PgBouncer that its renderer does not take.
func refusePooler(cluster *v1beta1.PostgresCluster, _ desired.Settings) string {
	if desired.Pooler(cluster) == nil {
		return ""
	}
	if _, err := desired.PoolerConfig(cluster); err != nil {
		return "spec.proxy.pgBouncer.config.global: " + err.Error()
	}
	return ""
}

// dynamicConfiguration is what the user wrote, or nil.
func dynamicConfiguration(cluster *v1beta1.PostgresCluster) (map[string]any, error) {
	patroni := cluster.Spec.Patroni
	if patroni == nil || patroni.DynamicConfiguration == nil || len(patroni.DynamicConfiguration.Raw) == 0 {
		return nil, nil
	}
	var configuration map[string]any
	if err := json.Unmarshal(patroni.DynamicConfiguration.Raw, &configuration); err != nil {
		return nil, fmt.Errorf("reading the dynamic configuration: %w", err)
	}
	return configuration, nil
}

func object(from map[string]any, key string) (map[string]any, error) {
	value, ok := from[key]
	if !ok || value == nil {
		return nil, nil
	}
	member, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is a %T", key, value)
	}
	return member, nil
}
