package patroniyaml

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func hippo() Config {
	return Config{Scope: "hippo-ha", Cluster: "hippo", Namespace: "data", PrimaryLabel: "primary", PostgresVersion: 17, MinTLS: "1.3", Bootstrap: true}
}

func TestGolden(t *testing.T) {
	fifteen := hippo()
	fifteen.PostgresVersion, fifteen.MinTLS, fifteen.Bootstrap, fifteen.PrimaryLabel = 15, "1.2", false, "master"
	tuned := hippo()
	tuned.LeaderLeaseSeconds, tuned.SyncPeriodSeconds = 20, 5
	tuned.Dynamic = map[string]any{"synchronous_mode": true, "postgresql": map[string]any{"parameters": map[string]any{"max_connections": 200}}}
	for name, config := range map[string]Config{"17": hippo(), "15-without-bootstrap": fifteen, "17-tuned": tuned} {
		t.Run(name, func(t *testing.T) {
			got, err := Render(config)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
			if again, _ := Render(config); again != got {
				t.Error("equal input gives other bytes")
			}
		})
	}
}

// hba reads the rendered lines in order, as PostgreSQL does: the method of the first that matches.
func hba(t *testing.T, config Config, kind, database, user string) string {
	t.Helper()
	text, err := Render(config)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Postgresql struct {
			HBA []string `json:"pg_hba"`
		}
	}
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	for _, line := range document.Postgresql.HBA {
		fields := strings.Fields(line)
		method := fields[3]
		if fields[0] != "local" {
			method = fields[4]
		}
		if fields[0] == kind && matches(fields[1], database, "replication") && matches(fields[2], user, "") {
			return method
		}
	}
	return "refused"
}

// matches knows that "all" does not mean replication.
func matches(pattern, name, notAll string) bool {
	for word := range strings.SplitSeq(pattern, ",") {
		if word == name || word == "all" && (notAll == "" || name != notAll) {
			return true
		}
	}
	return false
}

func TestWhoGetsInHow(t *testing.T) {
	tests := []struct{ kind, database, user, method string }{
		{"local", "postgres", "postgres", "peer"},
		{"local", "replication", "_pgtlsrepl", "peer"},
		{"local", "app", "app", "refused"},
		{"local", "postgres", "_pgtls", "refused"},
		{"hostssl", "postgres", "_pgtls", "cert"},
		{"hostssl", "app", "_pgtls", "cert"},
		{"hostssl", "replication", "_pgtlsrepl", "cert"},
		{"hostssl", "postgres", "_pgtlsrepl", "cert"},
		{"hostssl", "app", "_pgtlsrepl", "reject"},
		{"hostssl", "postgres", "_pgtlspgbouncer", "cert"},
		{"hostssl", "app", "_pgtlspgbouncer", "reject"},
		{"hostssl", "replication", "_pgtls", "reject"},
		{"hostssl", "replication", "app", "refused"},
		{"hostssl", "app", "+_pgtlscert", "cert"}, // its members, before any role is asked for a password
		{"hostssl", "app", "app", "scram-sha-256"},
		{"hostnossl", "app", "app", "refused"},
		{"host", "app", "app", "refused"},
		{"hostnossl", "postgres", "_pgtls", "refused"},
	}
	for _, test := range tests {
		if got := hba(t, hippo(), test.kind, test.database, test.user); got != test.method {
			t.Errorf("%s %s as %s: %s, want %s", test.kind, test.database, test.user, got, test.method)
		}
	}
}

func TestRefusesWhatCannotStandInTheFile(t *testing.T) {
	tests := map[string]func(*Config){
		"scope":         func(c *Config) { c.Scope = "a\nb: c" },
		"cluster":       func(c *Config) { c.Cluster = "" },
		"namespace":     func(c *Config) { c.Namespace = "A" },
		"primary label": func(c *Config) { c.PrimaryLabel = "" },
		"PostgreSQL":    func(c *Config) { c.PostgresVersion = 0 },
		"TLS":           func(c *Config) { c.MinTLS = "1.1" },
	}
	for name, spoil := range tests {
		config := hippo()
		spoil(&config)
		if text, err := Render(config); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func TestDynamicConfigurationOfTheUserWinsAndIsNotChanged(t *testing.T) {
	user := map[string]any{"ttl": 60, "postgresql": map[string]any{"use_slots": false}}
	config := hippo()
	config.Dynamic = user
	text, err := Render(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ttl: 60", "use_slots: false", "use_pg_rewind: true"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if diff := cmp.Diff(map[string]any{"ttl": 60, "postgresql": map[string]any{"use_slots": false}}, user); diff != "" {
		t.Errorf("the user's map was changed: %s", diff)
	}
}

func TestPostBootstrapOnARealServer(t *testing.T) {
	server := pgtest.Prepare(t)
	server.Start(t, pgtest.Options{})
	server.SQL(t, "postgres", PostBootstrap())
	server.SQL(t, "postgres", `
		CREATE ROLE app LOGIN PASSWORD 'x'; CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'x'; CREATE ROLE copy REPLICATION LOGIN PASSWORD 'x';
		CREATE ROLE late LOGIN PASSWORD 'x' VALID UNTIL '2001-01-01'; CREATE ROLE nologin PASSWORD 'x'; CREATE ROLE bare LOGIN`)

	lookUp := func(name string) string {
		return server.SQL(t, "postgres", "SET ROLE _pgtlspgbouncer; SELECT username, left(password, 14) FROM pgbouncer.get_auth('"+name+"')")
	}
	if got := lookUp("app"); got != "app|SCRAM-SHA-256$" {
		t.Errorf("app looks up as %q", got)
	}
	for _, name := range []string{"boss", "copy", "late", "nologin", "bare", "postgres", "_pgtls", "_pgtlspgbouncer", "nobody"} {
		if got := lookUp(name); got != "" {
			t.Errorf("%s looks up as %q", name, got)
		}
	}
	roles := server.SQL(t, "postgres", `SELECT rolname, rolsuper, rolcanlogin, rolpassword IS NULL FROM pg_authid WHERE rolname LIKE '\_pgtls%' ORDER BY 1`)
	if want := "_pgtls|t|t|t\n_pgtlspgbouncer|f|t|t"; roles != want {
		t.Errorf("roles are\n%s\nwant\n%s", roles, want)
	}
	allowed := server.SQL(t, "postgres", `SELECT has_function_privilege('app', 'pgbouncer.get_auth(text)', 'EXECUTE'), has_schema_privilege('app', 'pgbouncer', 'USAGE'), has_table_privilege('_pgtlspgbouncer', 'pg_authid', 'SELECT')`)
	if allowed != "f|f|f" {
		t.Errorf("others may: %s", allowed)
	}
}
