package desired

import "pgtls.dev/pgtls/api/v1beta1"

// Until internal/patroni and internal/pgbouncer render these.
func patroniConfig(cluster *v1beta1.PostgresCluster, bootstrap bool) (string, error) {
	return "scope: " + PatroniScope(cluster.Name) + "\n", nil
}
func postBootstrap() string { return "" }
func poolerINI(cluster *v1beta1.PostgresCluster) (string, error) { return "[pgbouncer]\n", nil }
