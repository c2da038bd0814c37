package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
	"pgtls.dev/pgtls/internal/probe"
)

// real is an agent beside a real PostgreSQL.
type real struct {
	*kit
	database            *pgtest.Server
	agent               *Agent
	volume              *volume
	pod                 *volume
	active              string
	log                 string
	copied, poolerTells lockedBuffer
	hideKey             atomic.Bool // make the next revisions' server key unusable for PostgreSQL
}

// startReal runs an agent; PostgreSQL is prepared but not up.
func startReal(t *testing.T) *real {
	t.Helper()
	database := pgtest.Prepare(t)
	return startRealBeside(t, database, party.Instance, database.Port)
}

// startRealBeside runs an agent beside the process of a kind, which will listen on a port.
func startRealBeside(t *testing.T, database *pgtest.Server, kind *party.Kind, port uint16) *real {
	t.Helper()
	r := &real{kit: newKit(t, time.Now()), database: database, volume: newVolume(t), pod: newVolume(t)}
	r.active = filepath.Join(filepath.Dir(r.database.DataDir), "active")
	r.log = filepath.Join(filepath.Dir(r.database.DataDir), "log.d", "process.log")
	for _, dir := range []string{r.active, filepath.Dir(r.log)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.database.Own(t, filepath.Dir(r.log))
	agent, err := New(Config{
		Pod: "hippo-a-0-0", Kind: kind, MaterialDir: r.volume.dir, ActivateFile: r.pod.activateFile(),
		ActiveDir: r.active, SocketDir: r.database.SocketDir, LogFile: r.log, LogCopy: &r.copied, Listen: "127.0.0.1:0",
		Process: NewProcess(kind.Process.Program, r.database.SocketDir, port, tls.VersionTLS13),
		Now:     time.Now, Log: discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.agent = agent
	r.giveToPostgres()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent ended with %v", err)
		}
	})
	return r
}

// giveToPostgres chowns a revision before it gets its name: in a pod both processes have one uid, here the test may be root.
func (r *real) giveToPostgres() {
	r.agent.store.beforeStep = func(step string) error {
		if step != "complete" {
			return nil
		}
		dir := filepath.Join(r.active, temporaryDir)
		if r.hideKey.Load() {
			return os.Chmod(filepath.Join(dir, agentapi.ServerKey), 0o666) // PostgreSQL takes no key that others may read
		}
		r.database.Own(r.t, dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			r.database.Own(r.t, filepath.Join(dir, entry.Name()))
		}
		return nil
	}
}

func (r *real) startPostgres(t *testing.T) {
	current := filepath.Join(r.active, currentLink)
	r.database.Start(t, pgtest.Options{
		Settings: map[string]string{
			"ssl": "on", "ssl_cert_file": filepath.Join(current, agentapi.ServerCertificate), "ssl_key_file": filepath.Join(current, agentapi.ServerKey),
			"ssl_ca_file": filepath.Join(current, agentapi.ClientBundle), "ssl_min_protocol_version": "TLSv1.3",
			"include_if_exists": filepath.Join(current, settingsFile),
			"logging_collector": "on", "log_directory": filepath.Dir(r.log), "log_filename": filepath.Base(r.log), "log_rotation_age": "0", "log_rotation_size": "0",
		},
		HBA: []string{"hostssl all all all cert"},
	})
}

// await waits for a report that satisfies a condition.
func (r *real) await(t *testing.T, what string, ok func(agentapi.Report) bool) agentapi.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	last, _ := r.agent.reports.get()
	for !ok(last) {
		next, news := r.agent.reports.after(ctx, last.Boot, last.Sequence, time.Minute)
		if !news {
			t.Fatalf("no report with %s; the last is %+v, problem %+v\n%s", what, last, last.Problem, r.copied.String()+r.poolerTells.String())
		}
		last = next
	}
	return last
}

func (r *real) awaitActive(t *testing.T, m material) agentapi.Report {
	t.Helper()
	return r.await(t, "revision "+m.revision()+" active", func(report agentapi.Report) bool {
		return report.Active == m.revision() && report.Problem == nil
	})
}

func (r *real) served(t *testing.T) pki.CertificateFacts {
	t.Helper()
	served, err := probe.Dial(t.Context(), probe.Target{
		Address: r.database.Address(), Protocol: probe.Postgres, ServerName: "localhost", Anchors: pkiAnchors(r.server), At: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return served.Leaf
}

func TestAgentBesideRealPostgreSQL(t *testing.T) {
	r := startReal(t)
	first, second := r.material(usual()), r.material(usual())

	r.volume.deliver(first)
	r.await(t, "PostgreSQL awaited", func(report agentapi.Report) bool {
		return report.Problem != nil && report.Problem.Reason == agentapi.ProcessNotReady
	})
	r.startPostgres(t)
	report := r.awaitActive(t, first)
	if !report.Unasked || report.ServerLeaf.Serial != r.served(t).Serial || len(report.ClientAnchors) != 1 {
		t.Errorf("first activation reports %+v", report)
	}

	r.volume.deliver(second)
	r.await(t, "the second revision mounted", func(report agentapi.Report) bool { return report.Mounted == second.revision() })
	if got := r.served(t).Serial; got != report.ServerLeaf.Serial {
		t.Errorf("serves %s without being asked", got)
	}
	start := time.Now()
	r.pod.ask(second.revision())
	report = r.awaitActive(t, second)
	t.Logf("asked to active: %v", time.Since(start))
	if got := r.served(t).Serial; got != report.ServerLeaf.Serial || report.Previous != first.revision() || report.Unasked {
		t.Errorf("after the second activation %s is served and the report is %+v", got, report)
	}

	r.pod.ask(first.revision())
	if report = r.awaitActive(t, first); r.served(t).Serial != report.ServerLeaf.Serial {
		t.Errorf("the undo is not served: %+v", report)
	}
}

func TestAgentSeesABundleThatPostgreSQLHasNotLoaded(t *testing.T) {
	r := startReal(t)
	first := r.material(usual())
	other := authority(t, "hippo client ca g2", r.start)
	both := first.with(agentapi.ClientBundle, append(r.client.EncodeCertificate(), other.EncodeCertificate()...))
	r.volume.deliver(first)
	r.startPostgres(t)
	r.awaitActive(t, first)

	served, err := r.agent.config.Process.Handshake(t.Context())
	if err != nil || !serves(served, first.parsed(t)) || serves(served, both.parsed(t)) {
		t.Errorf("the same leaf with another bundle is taken for served: accepted issuers %q, %v", served.AcceptedIssuers, err)
	}
	r.volume.deliver(both)
	r.pod.ask(both.revision())
	if report := r.awaitActive(t, both); len(report.ClientAnchors) != 2 {
		t.Errorf("reports %d anchors for clients", len(report.ClientAnchors))
	}
}

// PostgreSQL that cannot use the files keeps the old ones and says so only in its log. Only the wire tells.
func TestSilentStalenessIsReported(t *testing.T) {
	r := startReal(t)
	first, second := r.material(usual()), r.material(usual())
	r.volume.deliver(first)
	r.startPostgres(t)
	old := r.awaitActive(t, first)

	r.hideKey.Store(true)
	r.volume.deliver(second)
	r.pod.ask(second.revision())
	report := r.await(t, "StillServingOld", func(report agentapi.Report) bool {
		// A probe that timed out on a busy machine shows nothing of what is served: another one follows.
		return report.Problem != nil && report.Problem.Reason == agentapi.StillServingOld && len(report.Served) > 0 && report.Served[0].Error == ""
	})
	if report.Active != first.revision() || report.Served[0].Serial != old.ServerLeaf.Serial || r.served(t).Serial != old.ServerLeaf.Serial {
		t.Errorf("active is %s, served %+v", report.Active, report.Served)
	}

	r.hideKey.Store(false)
	r.pod.ask(first.revision())
	r.awaitActive(t, first)
}

func pkiAnchors(authorities ...*pki.Authority) (anchors []*x509.Certificate) {
	for _, a := range authorities {
		anchors = append(anchors, a.Certificate)
	}
	return anchors
}
