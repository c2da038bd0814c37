package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func names(recipes []recipe) []string {
	var out []string
	for _, r := range recipes {
		out = append(out, r.Name)
	}
	return out
}

func TestSelected(t *testing.T) {
	all := catalog()
	tests := map[string]struct {
		only []string
		want []string
	}{
		"none means all":      {nil, names(all)},
		"one":                 {[]string{"agent"}, []string{"agent"}},
		"the catalog's order": {[]string{"agent", "pgbouncer", "postgres-17"}, []string{"postgres-17", "pgbouncer", "agent"}},
		"said twice":          {[]string{"agent", "agent"}, []string{"agent"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := selected(all, tt.only)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names(got)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(names(catalog()), names(all)); diff != "" {
				t.Errorf("selecting changed its input: %s", diff)
			}
		})
	}
}

func TestSelectedRefusesAnUnknownName(t *testing.T) {
	_, err := selected(catalog(), []string{"agent", "postgres"})
	want := `no image is named "postgres": choose from agent, client, operator, pgbouncer, postgres-15, postgres-17`
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

// Restricted pod security refuses a pod whose image names no user, or names one that is not a number.
func TestEveryImageRunsAsANumberedUser(t *testing.T) {
	user := regexp.MustCompile(`(?m)^USER ([1-9][0-9]*):([1-9][0-9]*)$`)
	for _, r := range catalog() {
		text := dockerfile(t, r.Folder)
		if !user.MatchString(text) {
			t.Errorf("the Dockerfile of %s has no line USER uid:gid", r.Name)
		}
	}
}

// The agent reloads PostgreSQL and PgBouncer over unix sockets that trust its uid.
func TestAgentSharesTheUserOfWhatItReloads(t *testing.T) {
	for _, folder := range []string{"images/agent", "images/postgres", "images/pgbouncer"} {
		if !strings.Contains(dockerfile(t, folder), "\nUSER 26:26\n") {
			t.Errorf("%s does not run as 26:26", folder)
		}
	}
}

// An image that names a base by itself would not build on a machine without a registry.
func TestBaseIsAnArgument(t *testing.T) {
	for _, r := range catalog() {
		want := "FROM scratch"
		if r.Suite != "" {
			want = "FROM ${BASE}"
		}
		for line := range strings.Lines(dockerfile(t, r.Folder)) {
			if strings.HasPrefix(line, "FROM ") && strings.TrimSpace(line) != want {
				t.Errorf("%s: %q instead of %q", r.Name, strings.TrimSpace(line), want)
			}
		}
	}
}

func dockerfile(t *testing.T, folder string) string {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, folder, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
