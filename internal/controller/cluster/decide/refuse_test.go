package decide

import (
	"strings"
	"testing"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/clustertest"
)

var (
	hippo      = clustertest.Hippo
	withPooler = clustertest.WithPooler
	settings   = clustertest.Settings
	dynamic    = clustertest.Dynamic
)

func TestWhatCannotWorkIsRefusedWithFieldAndRemedy(t *testing.T) {
	const field = "spec.patroni.dynamicConfiguration"
	for _, c := range []struct {
		name   string
		change func(*v1beta1.PostgresCluster)
		field  string
		remedy string
	}{
		{"a TLS parameter", dynamic(`{"postgresql":{"parameters":{"ssl_cert_file":"/x"}}}`), field + ".postgresql.parameters.ssl_cert_file", "remove"},
		{"a TLS parameter in capitals", dynamic(`{"postgresql":{"parameters":{"SSL":"off"}}}`), field + ".postgresql.parameters.SSL", "remove"},
		{"where the log goes", dynamic(`{"postgresql":{"parameters":{"Log_Directory":"/pgdata/log"}}}`), field + ".postgresql.parameters.Log_Directory", "remove"},
		{"no logging collector", dynamic(`{"postgresql":{"parameters":{"logging_collector":false}}}`), field + ".postgresql.parameters.logging_collector", "remove"},
		{"messages in another language", dynamic(`{"postgresql":{"parameters":{"lc_messages":"de_DE.UTF-8"}}}`), field + ".postgresql.parameters.lc_messages", "remove"},
		{"a log without refused handshakes", dynamic(`{"postgresql":{"parameters":{"log_min_messages":"FATAL"}}}`), field + ".postgresql.parameters.log_min_messages", "set log"},
		{"the port", dynamic(`{"postgresql":{"parameters":{"port":5433}}}`), field + ".postgresql.parameters.port", "remove"},
		{"pg_hba", dynamic(`{"postgresql":{"pg_hba":["host all all all trust"]}}`), field + ".postgresql.pg_hba", "remove"},
		{"authentication", dynamic(`{"postgresql":{"authentication":{}}}`), field + ".postgresql.authentication", "remove"},
		{"the lease", dynamic(`{"ttl":5}`), field + ".ttl", "spec.patroni.leaderLeaseDurationSeconds"},
		{"no object", dynamic(`"ttl"`), field, "write"},
		{"postgresql is no object", dynamic(`{"postgresql":[]}`), field + ".postgresql", "write"},
		{"parameters are no object", dynamic(`{"postgresql":{"parameters":"x"}}`), field + ".postgresql.parameters", "write"},
		{"no image", func(c *v1beta1.PostgresCluster) { c.Spec.PostgresVersion = 15 }, "spec.image", "RELATED_IMAGE_POSTGRES_15"},
		{"a setting of PgBouncer's that is ours", func(c *v1beta1.PostgresCluster) {
			withPooler(c)
			c.Spec.Proxy.PGBouncer.Config.Global = map[string]string{"so_reuseport": "1"}
		}, "spec.proxy.pgBouncer.config.global", "remove"},
		{"two instances of one name", func(c *v1beta1.PostgresCluster) {
			c.Spec.Instances = append(c.Spec.Instances, c.Spec.Instances[0])
		}, "spec.instances[].name", "rename"},
	} {
		t.Run(c.name, func(t *testing.T) {
			problem := Refusal(hippo(c.change), settings())
			if problem == nil {
				t.Fatal("taken")
			}
			message := problem.Message
			if problem.Reason != SpecInvalid || !strings.HasPrefix(message, c.field+":") || !strings.Contains(message, c.remedy) || strings.Contains(message, "\n") {
				t.Errorf("got %s %q", problem.Reason, message)
			}
		})
	}
}

func TestOrdinarySpecsAreTaken(t *testing.T) {
	for name, change := range map[string]func(*v1beta1.PostgresCluster){
		"minimal":     func(*v1beta1.PostgresCluster) {},
		"pooler":      withPooler,
		"parameters":  dynamic(`{"synchronous_mode":true,"postgresql":{"parameters":{"max_connections":200,"work_mem":"8MB"}}}`),
		"logging":     dynamic(`{"postgresql":{"parameters":{"log_min_messages":"log","log_line_prefix":"%m %u@%d ","log_statement":"ddl","log_min_duration_statement":250}}}`),
		"empty":       dynamic(`{}`),
		"nothing":     dynamic(``),
		"null inside": dynamic(`{"postgresql":null}`),
	} {
		t.Run(name, func(t *testing.T) {
			if problem := Refusal(hippo(change), settings()); problem != nil {
				t.Errorf("refused: %s", problem.Message)
			}
		})
	}
}
