package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pgbouncer"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/test/require"
)

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// clients connect to the process beside the agent.
type clients struct {
	*real
	port uint16
}

// libpq connects with verify-full as a client that trusts one authority, and returns what psql says.
func (c clients) libpq(t *testing.T, trusts *pki.Authority) (string, error) {
	t.Helper()
	file, err := os.CreateTemp(filepath.Dir(c.database.DataDir), "trusted*.crt")
	if err == nil {
		_, err = file.Write(trusts.EncodeCertificate())
	}
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		t.Fatal(err)
	}
	return c.database.Connect(t.Context(), fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=verify-full sslrootcert=%s sslcert=none connect_timeout=10", c.port, file.Name()), "select 1")
}

// golang connects with a client certificate of an authority.
func (c clients) golang(t *testing.T, trusts, presents *pki.Authority) error {
	t.Helper()
	config, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", c.port))
	if err != nil {
		t.Fatal(err)
	}
	config.TLSConfig = c.clientTLS(presents, "postgres")
	config.TLSConfig.InsecureSkipVerify, config.TLSConfig.ServerName, config.TLSConfig.RootCAs = false, "localhost", x509.NewCertPool()
	config.TLSConfig.RootCAs.AddCert(trusts.Certificate)
	pair := config.TLSConfig.Certificates[0]
	config.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil } // also to a server that does not want it
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		return err
	}
	return conn.Close(t.Context())
}

func (c clients) mustBeRefused(t *testing.T, trusts *pki.Authority) {
	t.Helper()
	if said, err := c.libpq(t, trusts); err == nil || !strings.Contains(said, "certificate verify failed") {
		t.Fatalf("a client that does not trust what is served gets %q, %v", said, err)
	}
}

func (c clients) awaitCounts(t *testing.T, want string) agentapi.Report {
	t.Helper()
	return c.await(t, "refusals "+want, func(report agentapi.Report) bool { return counts(report.Refused) == want })
}

func TestRefusalsAtARealPostgreSQL(t *testing.T) {
	r := startReal(t)
	c := clients{r, r.database.Port}
	oldAuthority, stranger := r.server, authority(t, "stranger", r.start)
	first := r.material(usual())
	r.server = authority(t, "hippo server ca g2", r.start)
	second := r.material(usual())

	r.volume.deliver(first)
	r.startPostgres(t)
	r.awaitActive(t, first)
	none := first.revision() + "=0"
	if entry := c.awaitCounts(t, none).Refused[0]; entry.Until != nil || entry.Last != "" || entry.Issuer != pki.Facts(oldAuthority.Certificate).KeyID {
		t.Errorf("before a client refused the entry is %+v", entry)
	}
	if err := c.golang(t, oldAuthority, r.client); err != nil {
		t.Fatalf("a client that trusts what is served: %v", err)
	}
	if err := c.golang(t, oldAuthority, stranger); err == nil {
		t.Fatal("PostgreSQL let a stranger in")
	}
	c.mustBeRefused(t, r.server)
	if entry := c.awaitCounts(t, first.revision()+"=1").Refused[0]; entry.Last != "unknown ca" {
		t.Errorf("after a client of libpq the entry is %+v", entry)
	}
	if err := c.golang(t, r.server, r.client); err == nil {
		t.Fatal("a client of Go took what it does not trust")
	}
	if entry := c.awaitCounts(t, first.revision()+"=2").Refused[0]; entry.Last != "bad certificate" {
		t.Errorf("after a client of Go the entry is %+v", entry)
	}

	r.volume.deliver(second)
	r.pod.ask(second.revision())
	report := r.awaitActive(t, second)
	if got, want := counts(report.Refused), second.revision()+"=0 "+first.revision()+"=2"; got != want {
		t.Errorf("with the new revision comes %s, want %s", got, want)
	}
	if new, old := report.Refused[0], report.Refused[1]; new.Issuer != pki.Facts(r.server.Certificate).KeyID || new.Until != nil || old.Until == nil || !old.Until.Equal(new.Since) {
		t.Errorf("entries are %+v", report.Refused)
	}
	if err := c.golang(t, r.server, r.client); err != nil {
		t.Fatalf("a client that trusts the new authority: %v", err)
	}
	c.mustBeRefused(t, oldAuthority)
	c.awaitCounts(t, second.revision()+"=1 "+first.revision()+"=2")
	c.mustBeRefused(t, oldAuthority)
	c.awaitCounts(t, second.revision()+"=2 "+first.revision()+"=2") // what came before is copied by now
	if copied := r.copied.String(); strings.Count(copied, "could not accept SSL connection: ") < 4 || !strings.Contains(copied, "database system is ready to accept connections\n") {
		t.Errorf("the copy of the log is\n%s", copied)
	}
}

// startPooler runs PgBouncer with the operator's configuration, but for paths and the users that may log in.
func (r *real) startPooler(t *testing.T, port uint16, binary string) {
	t.Helper()
	text, err := pgbouncer.RenderINI(pgbouncer.INI{PrimaryHost: "localhost", Port: port, MinTLS: "1.3"})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(r.database.DataDir)
	users := filepath.Join(root, "users")
	text = strings.NewReplacer(
		agentapi.PGBouncerLog, r.log, agentapi.CurrentDir, filepath.Join(r.active, currentLink), agentapi.SocketDir, r.database.SocketDir,
		"auth_type = scram-sha-256", "auth_type = trust\nauth_file = "+users, "auth_dbname = postgres\n", "", // which 1.18 does not know
		fmt.Sprintf("port=%d", agentapi.PostgresPort), fmt.Sprintf("port=%d", r.database.Port),
	).Replace(text)
	ini := filepath.Join(root, "pgbouncer.ini")
	for path, content := range map[string]string{ini: text, users: "\"pgbouncer\" \"\"\n\"postgres\" \"\"\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		r.database.Own(t, path)
	}
	process := exec.CommandContext(context.WithoutCancel(t.Context()), binary, ini)
	process.Stderr = &r.poolerTells
	r.database.RunAs(process)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGQUIT)
		_ = process.Wait()
	})
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

func TestRefusalsAtARealPgBouncer(t *testing.T) {
	binary, port := require.Program(t, "pgbouncer"), freePort(t)
	r := startRealBeside(t, pgtest.Prepare(t), party.Pooler, port)
	c := clients{r, port}
	oldAuthority, stranger := r.server, authority(t, "stranger", r.start)
	first := r.material(usual())
	r.server = authority(t, "hippo server ca g2", r.start)
	second := r.material(usual())

	r.volume.deliver(first)
	r.await(t, "material installed", func(report agentapi.Report) bool {
		return report.Problem != nil && report.Problem.Reason == agentapi.ProcessNotReady
	})
	r.startPooler(t, port, binary)
	r.awaitActive(t, first)
	c.awaitCounts(t, first.revision()+"=0")

	target := probe.Target{Address: fmt.Sprintf("127.0.0.1:%d", port), Protocol: probe.PGBouncer, ServerName: "localhost", Anchors: pkiAnchors(oldAuthority), At: time.Now()}
	if _, err := probe.Dial(t.Context(), target); err != nil { // no PostgreSQL is behind PgBouncer, so there is nothing to log in to
		t.Fatalf("a client that trusts what is served: %v", err)
	}
	if err := c.golang(t, oldAuthority, stranger); err == nil {
		t.Fatal("PgBouncer let a stranger in")
	}
	c.mustBeRefused(t, r.server)
	if entry := c.awaitCounts(t, first.revision()+"=1").Refused[0]; entry.Last != "unknown ca" {
		t.Errorf("after a client of libpq the entry is %+v", entry)
	}
	if err := c.golang(t, r.server, r.client); err == nil {
		t.Fatal("a client of Go took what it does not trust")
	}
	if entry := c.awaitCounts(t, first.revision()+"=2").Refused[0]; entry.Last != "bad certificate" {
		t.Errorf("after a client of Go the entry is %+v", entry)
	}

	r.volume.deliver(second)
	r.pod.ask(second.revision())
	if got, want := counts(r.awaitActive(t, second).Refused), second.revision()+"=0 "+first.revision()+"=2"; got != want {
		t.Errorf("with the new revision comes %s, want %s", got, want)
	}
	c.mustBeRefused(t, oldAuthority)
	c.awaitCounts(t, second.revision()+"=1 "+first.revision()+"=2")
	if tells := r.poolerTells.String(); strings.Count(tells, "alert") != 3 {
		t.Errorf("kubectl logs would show\n%s", tells)
	}
}
