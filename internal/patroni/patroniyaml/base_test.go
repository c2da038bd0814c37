package patroniyaml

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

// settingsIn are the settings of a text, without includes.
func settingsIn(text string) map[string]string {
	settings := map[string]string{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if name, value, found := strings.Cut(line, "="); found {
			settings[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	return settings
}

// Nothing of what initdb sets is lost because Patroni includes this file in place of initdb's.
func TestTheBaseFileSaysWhatInitdbSays(t *testing.T) {
	database := pgtest.Prepare(t)
	written, err := os.ReadFile(filepath.Join(database.DataDir, "postgresql.conf"))
	if err != nil {
		t.Fatal(err)
	}
	byInitdb, ours := settingsIn(string(written)), settingsIn(PostgresConf(17))
	// What PostgreSQL does by default, asked of a server without any setting.
	database.Start(t, pgtest.Options{})
	for line := range strings.Lines(database.SQL(t, "postgres", "SELECT name || '=' || boot_val FROM pg_settings WHERE boot_val IS NOT NULL")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if written, set := byInitdb[name]; set && strings.EqualFold(written, value) && ours[name] == "" {
			delete(byInitdb, name)
		}
	}
	for name, value := range map[string]string{"shared_buffers": "128MB", "max_wal_size": "1GB", "min_wal_size": "80MB"} {
		if byInitdb[name] == value { // the defaults too, in other units
			delete(byInitdb, name)
		}
	}
	for _, name := range []string{"timezone", "log_timezone"} { // of the machine that made it; in the image it is Etc/UTC
		delete(byInitdb, name)
		delete(ours, name)
	}
	if diff := cmp.Diff(byInitdb, ours); diff != "" {
		t.Errorf("(-initdb +ours):\n%s", diff)
	}
}

func TestPostgreSQLTakesTheBaseFileAndTheRevocationThatItIncludes(t *testing.T) {
	database := pgtest.Prepare(t)
	old, revocation := filepath.Join(database.DataDir, "postgresql.base.conf"), filepath.Join(database.DataDir, "revocation.conf")
	base := filepath.Join(database.DataDir, "base.conf")
	text := strings.NewReplacer(dataDir(17)+"/postgresql.base.conf", old, agentapi.RevocationSettings, revocation).Replace(PostgresConf(17))
	for path, content := range map[string]string{base: text, old: "default_text_search_config = 'pg_catalog.german'\n", revocation: "ssl_crl_file = '/nowhere'\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		database.Own(t, path)
	}
	database.Start(t, pgtest.Options{Settings: map[string]string{"include": base}})
	want := map[string]string{"timezone": "Etc/UTC", "default_text_search_config": "pg_catalog.german", "ssl_crl_file": "/nowhere"}
	got := maps.Clone(want)
	for name := range got {
		got[name] = database.SQL(t, "postgres", "SHOW "+name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.Remove(revocation); err != nil {
		t.Fatal(err)
	}
	database.SQL(t, "postgres", "SELECT pg_reload_conf()")
	if off := database.SQL(t, "postgres", "SHOW ssl_crl_file"); off != "" {
		t.Errorf("without the file ssl_crl_file is still %q", off)
	}
}
