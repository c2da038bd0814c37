package pgbouncer

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func hippo() INI { return INI{PrimaryHost: "hippo-primary.data.svc", MinTLS: "1.3"} }

func TestGolden(t *testing.T) {
	tuned := hippo()
	tuned.MinTLS, tuned.Port = "1.2", 6432
	tuned.Global = map[string]string{"pool_mode": "transaction", "max_prepared_statements": "100"}
	tuned.Databases = map[string]string{"app": "host=hippo-primary.data.svc port=5432 pool_size=5"}
	tuned.Users = map[string]string{"app": "pool_mode=session"}
	for name, config := range map[string]INI{"plain": hippo(), "tuned": tuned} {
		t.Run(name, func(t *testing.T) {
			got, err := RenderINI(config)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".ini")
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
		})
	}
}

func TestRefuses(t *testing.T) {
	tests := map[string]func(*INI){
		"TLS version":                 func(c *INI) { c.MinTLS = "" },
		"no host":                     func(c *INI) { c.PrimaryHost = "" },
		"operator's":                  func(c *INI) { c.Global = map[string]string{"client_tls_sslmode": "disable"} },
		"operator's: remove":          func(c *INI) { c.Global = map[string]string{" AUTH_TYPE": "trust"} },
		`"logfile" is the operator's`: func(c *INI) { c.Global = map[string]string{"logfile": "/etc/passwd"} },
		"control character":           func(c *INI) { c.Global = map[string]string{"pool_mode": "session\nauth_type = trust"} },
		"section databases":           func(c *INI) { c.Databases = map[string]string{"a\rb": "host=x"} },
		"section users":               func(c *INI) { c.Users = map[string]string{"[pgbouncer]": ""} },
		"is no name":                  func(c *INI) { c.Global = map[string]string{"%include /etc/shadow": ""} },
		"is no name: use":             func(c *INI) { c.Global = map[string]string{"": "x"} },
		"host":                        func(c *INI) { c.PrimaryHost = "x\nauth_type = any" },
	}
	for want, spoil := range tests {
		config := hippo()
		spoil(&config)
		if text, err := RenderINI(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\n%s", want, err, text)
		}
	}
}

// parse reads an ini file as PgBouncer does, as far as it matters here.
func parse(text string) map[string]map[string]string {
	sections := map[string]map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			sections[section] = map[string]string{}
			continue
		}
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, ";") && !strings.HasPrefix(line, "#") {
			sections[section][strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return sections
}

// Whatever a user sets, either it is refused or the operator's settings stand as they are.
func TestNothingOverridesTheOperator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := hippo()
		draw := rapid.MapOf(rapid.OneOf(rapid.String(), rapid.SampledFrom(Reserved())), rapid.String())
		config.Global, config.Users = draw.Draw(t, "global"), draw.Draw(t, "users")
		text, err := RenderINI(config)
		if err != nil {
			return
		}
		sections := parse(text)
		for name, value := range fixed(config) {
			if got := sections[globalSection][name]; got != value {
				t.Fatalf("%s is %q, not %q, in\n%s", name, got, value, text)
			}
		}
		if len(sections) > 3 {
			t.Fatalf("sections %v", sections)
		}
	})
}

func TestReservedIsSortedAndHoldsEverythingFixed(t *testing.T) {
	reserved := Reserved()
	if !slices.IsSorted(reserved) {
		t.Error("not sorted")
	}
	for name := range fixed(hippo()) {
		if !slices.Contains(reserved, name) {
			t.Errorf("%s is missing", name)
		}
	}
	for name := range defaults() {
		if slices.Contains(reserved, name) {
			t.Errorf("%s has a default and is refused", name)
		}
	}
}
