package desired

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/api/v1beta1"
)

func textOf(data map[string][]byte) map[string]string {
	text := map[string]string{}
	for key, value := range data {
		text[key] = string(value)
	}
	return text
}

func TestByDefaultUserAndDatabaseAreNamedAfterTheCluster(t *testing.T) {
	want := []v1beta1.UserSpec{{Name: "hippo", Databases: []v1beta1.DatabaseName{"hippo"}}}
	if diff := cmp.Diff(want, Users(hippo())); diff != "" {
		t.Error(diff)
	}
}

func TestUserSecretHasTheKeysOfPGO(t *testing.T) {
	cluster := hippo(everything)
	secret := UserSecretFor(cluster, Users(cluster)[0], Credentials{Password: "p@ss/w rd", Verifier: "V"}, "CA")
	want := map[string]string{
		"host": "hippo-primary.zoo.svc", "port": "5432", "dbname": "zoo", "user": "keeper", "password": "p@ss/w rd", "verifier": "V",
		"ca.crt":             "CA",
		"uri":                "postgresql://keeper:p%40ss%2Fw%20rd@hippo-primary.zoo.svc:5432/zoo?sslmode=require",
		"jdbc-uri":           "jdbc:postgresql://hippo-primary.zoo.svc:5432/zoo?password=p%40ss%2Fw+rd&sslmode=require&user=keeper",
		"pgbouncer-host":     "hippo-pgbouncer.zoo.svc",
		"pgbouncer-port":     "6432",
		"pgbouncer-uri":      "postgresql://keeper:p%40ss%2Fw%20rd@hippo-pgbouncer.zoo.svc:6432/zoo?sslmode=require",
		"pgbouncer-jdbc-uri": "jdbc:postgresql://hippo-pgbouncer.zoo.svc:6432/zoo?password=p%40ss%2Fw+rd&sslmode=require&user=keeper&prepareThreshold=0",
	}
	if diff := cmp.Diff(want, textOf(secret.Data)); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutDatabaseOrProxyTheirKeysAreAbsent(t *testing.T) {
	secret := UserSecretFor(hippo(), v1beta1.UserSpec{Name: "guest"}, Credentials{Password: "p", Verifier: "V"}, "")
	want := map[string]string{"host": "hippo-primary.zoo.svc", "port": "5432", "user": "guest", "password": "p", "verifier": "V"}
	if diff := cmp.Diff(want, textOf(secret.Data)); diff != "" {
		t.Error(diff)
	}
}

func TestDynamicConfigurationIsTheWholeOfIt(t *testing.T) {
	got := must(DynamicConfiguration(hippo(everything)))(t)
	if got["ttl"] != 20.0 || got["loop_wait"] != 5.0 {
		t.Errorf("ttl %v, loop_wait %v", got["ttl"], got["loop_wait"])
	}
	postgresql, _ := got["postgresql"].(map[string]any)
	parameters, _ := postgresql["parameters"].(map[string]any)
	if parameters["max_connections"] != 200.0 || postgresql["use_pg_rewind"] != true {
		t.Errorf("postgresql: %v", postgresql)
	}
}

func TestADynamicConfigurationThatIsNoObjectIsAnError(t *testing.T) {
	if _, err := DynamicConfiguration(hippo(withDynamic(`[1]`))); err == nil {
		t.Error("a list was taken")
	}
}
