package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

func TestDefaultsAreThoseOfAPod(t *testing.T) {
	t.Setenv("POD_NAME", "hippo-a-0-0")
	config, err := parse([]string{"--kind", "instance"})
	if err != nil {
		t.Fatal(err)
	}
	if config.Pod != "hippo-a-0-0" || config.Kind != party.Instance || config.MinTLS != tls.VersionTLS13 {
		t.Errorf("config is %+v", config)
	}
	if config.MaterialDir != agentapi.MaterialDir || config.ActivateFile != agentapi.ActivateFile || config.ActiveDir != agentapi.ActiveDir || config.SocketDir != agentapi.SocketDir {
		t.Errorf("paths are %+v", config)
	}
	if config.Listen != ":8443" || config.PatroniListen != ":8008" || config.PatroniUpstream != "127.0.0.1:8009" {
		t.Errorf("addresses are %+v", config)
	}
	if config.LogFile != agentapi.PostgresLog || config.LogCopy != os.Stdout {
		t.Errorf("the log %s is copied to %v", config.LogFile, config.LogCopy)
	}
	if config.Process.Port() != "postgres" {
		t.Errorf("process is %s", config.Process.Port())
	}
}

func TestAPoolerHasNoPatroni(t *testing.T) {
	config, err := parse([]string{"--kind", "pooler", "--pod", "p", "--min-tls", "1.2", "--process-port", "6432"})
	if err != nil {
		t.Fatal(err)
	}
	if config.LogFile != agentapi.PGBouncerLog || config.LogCopy != nil { // PgBouncer logs to stderr as well
		t.Errorf("the log %s is copied to %v", config.LogFile, config.LogCopy)
	}
	if config.PatroniListen != "" || config.Process.Port() != "pgbouncer" || config.MinTLS != tls.VersionTLS12 {
		t.Errorf("config is %+v", config)
	}
}

func TestBadFlagsNameTheFlag(t *testing.T) {
	t.Setenv("POD_NAME", "")
	t.Setenv("AGENT_KIND", "")
	good := map[string]string{"--kind": "instance", "--pod": "p", "--min-tls": "1.3", "--process-port": "5432"}
	for name, value := range map[string]string{"--kind": "sidecar", "--pod": "", "--min-tls": "1.1", "--process-port": "70000"} {
		args := []string{name, value}
		for other, fine := range good {
			if other != name {
				args = append(args, other, fine)
			}
		}
		if _, err := parse(args); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s %q: %v", name, value, err)
		}
	}
	if _, err := parse([]string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}

func TestMain(m *testing.M) {
	flag.CommandLine.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// The agent runs beside every PostgreSQL: what it must not link, and how big it may be.
func TestStaysSmall(t *testing.T) {
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(list)) {
		for _, heavy := range []string{"k8s.io/", "prometheus/", "spf13/", "yaml"} {
			if strings.Contains(pkg, heavy) {
				t.Errorf("links %s", strings.TrimSpace(pkg))
			}
		}
	}
	binary := t.TempDir() + "/agent"
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 15 << 20
	if t.Logf("%.1f MB", float64(info.Size())/1e6); info.Size() > limit {
		t.Errorf("the binary has %d bytes, more than %d", info.Size(), limit)
	}
}
