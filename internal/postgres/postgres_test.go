package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

// certified is a real PostgreSQL with TLS, and what a client needs.
type certified struct {
	*pgtest.Server
	client *tls.Config
	serial string                                      // of the client's leaf
	leaf   func(name string) (certificate, key string) // files with a client's leaf that PostgreSQL can read
}

func startCertified(t *testing.T) certified {
	t.Helper()
	now := time.Now()
	authority, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: "hippo ca g1", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	server := pgtest.Prepare(t)
	write := func(name string, content []byte) {
		path := filepath.Join(server.DataDir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		server.Own(t, path)
	}
	issue := func(r pki.LeafRequest) *pki.KeyPair {
		r.NotBefore, r.NotAfter = now.Add(-time.Minute), now.Add(time.Hour)
		pair, err := authority.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	pair := issue(pki.LeafRequest{CommonName: "server", DNSNames: []string{"localhost"}, Usage: pki.ServerAuth})
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	write("server.crt", pair.EncodeChain())
	write("server.key", key)
	write("ca.crt", authority.EncodeCertificate())
	server.Start(t, pgtest.Options{
		Settings: map[string]string{"ssl": "on", "ssl_ca_file": "ca.crt", "ssl_min_protocol_version": "TLSv1.3"},
		HBA:      []string{"hostssl all all all cert", "hostssl replication _pgtlsrepl all cert"},
	})
	leaf := func(name string) (certificateFile, keyFile string) {
		pair := issue(pki.LeafRequest{CommonName: name, Usage: pki.ClientAuth})
		key, err := pair.EncodeKey()
		if err != nil {
			t.Fatal(err)
		}
		write(name+".crt", pair.EncodeChain())
		write(name+".key", key)
		return filepath.Join(server.DataDir, name+".crt"), filepath.Join(server.DataDir, name+".key")
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Certificate)
	client := issue(pki.LeafRequest{CommonName: "_pgtls", Usage: pki.ClientAuth})
	return certified{Server: server, leaf: leaf, serial: pki.Facts(client.Leaf()).Serial, client: &tls.Config{
		RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{client.Leaf().Raw}, PrivateKey: client.Key}},
	}}
}

func (c certified) connect(t *testing.T, user string) (*Conn, error) {
	conn, err := Connect(t.Context(), Server{Host: "127.0.0.1", Port: c.Port, User: user, Database: "postgres", TLS: c.client})
	if err == nil {
		t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	}
	return conn, err
}

func TestSessionsOfARealServer(t *testing.T) {
	server := startCertified(t)
	server.SQL(t, "postgres", `CREATE ROLE _pgtls SUPERUSER LOGIN`)
	conn, err := server.connect(t, "_pgtls")
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := Sessions(t.Context(), conn)
	// The psql that made the role has ended, and its backend may still be about to.
	sessions = slices.DeleteFunc(sessions, func(s Session) bool { return s.Application == "psql" })
	if err != nil || len(sessions) != 1 {
		t.Fatalf("sessions are %+v, %v", sessions, err)
	}
	got := sessions[0]
	if age := time.Since(got.Started); age < 0 || age > time.Minute {
		t.Errorf("the session started at %v", got.Started)
	}
	want := Session{
		PID: got.PID, Started: got.Started, Cipher: got.Cipher, User: "_pgtls", Database: "postgres", Application: "pgtls", Address: "127.0.0.1",
		TLSVersion: "TLSv1.3", ClientDN: "/CN=_pgtls", ClientSerial: server.serial, IssuerDN: "/CN=hippo ca g1",
	}
	if got != want || got.PID == 0 || got.Cipher == "" {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if standbys, err := Replication(t.Context(), conn); err != nil || len(standbys) != 0 {
		t.Errorf("standbys are %+v, %v", standbys, err)
	}
}

// A standby that streams with its certificate is seen as such, and a reload of the primary does not disconnect it.
func TestReplicationOfARealServer(t *testing.T) {
	server := startCertified(t)
	server.SQL(t, "postgres", `CREATE ROLE _pgtls SUPERUSER LOGIN; CREATE ROLE _pgtlsrepl REPLICATION LOGIN`)
	certificate, key := server.leaf("_pgtlsrepl")
	standby := server.Standby(t, fmt.Sprintf("host=localhost port=%d user=_pgtlsrepl sslmode=verify-full sslrootcert=%s sslcert=%s sslkey=%s application_name=hippo-a-1-0",
		server.Port, filepath.Join(server.DataDir, "ca.crt"), certificate, key))
	conn, err := server.connect(t, "_pgtls")
	if err != nil {
		t.Fatal(err)
	}
	first := awaitStreaming(t, conn, standby)
	if first.Application != "hippo-a-1-0" || first.ClientDN != "/CN=_pgtlsrepl" || first.IssuerDN != "/CN=hippo ca g1" || first.TLSVersion != "TLSv1.3" || first.Database != "" {
		t.Errorf("standby is %+v", first)
	}
	if err := (Local{SocketDir: server.SocketDir, Port: server.Port}).Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.SQL(t, "postgres", `CREATE TABLE after_the_reload ()`)
	for deadline := time.Now().Add(20 * time.Second); standby.SQL(t, "postgres", `SELECT to_regclass('after_the_reload') IS NOT NULL`) != "t"; {
		if time.Now().After(deadline) {
			t.Fatalf("the standby does not follow\n%s", standby.Log(t))
		}
	}
	if second := awaitStreaming(t, conn, standby); second.PID != first.PID || !second.Started.Equal(first.Started) {
		t.Errorf("the reload disconnected %+v, now it is %+v", first, second)
	}
}

// awaitStreaming returns the only standby once it streams and has replayed everything.
func awaitStreaming(t *testing.T, conn *Conn, standby *pgtest.Server) Standby {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		standbys, err := Replication(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if len(standbys) == 1 && standbys[0].State == "streaming" && standbys[0].LagBytes == 0 {
			return standbys[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("standbys are %+v\n%s", standbys, standby.Log(t))
		}
	}
}

func TestAConnectionWithoutTheRoleIsRefused(t *testing.T) {
	server := startCertified(t)
	if _, err := server.connect(t, "_pgtls"); err == nil || !strings.Contains(err.Error(), "_pgtls") {
		t.Errorf("connecting as a role that is not there: %v", err)
	}
	server.client.Certificates = nil
	if _, err := server.connect(t, "postgres"); err == nil {
		t.Error("connected without a client certificate")
	}
}

func TestReloadTakesEffect(t *testing.T) {
	server := startCertified(t)
	local := Local{SocketDir: server.SocketDir, Port: server.Port}
	if err := local.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.SQL(t, "postgres", `ALTER SYSTEM SET work_mem = '7MB'`)
	if got := server.SQL(t, "postgres", `SHOW work_mem`); got == "7MB" {
		t.Fatal("the setting is there before the reload")
	}
	if err := local.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); server.SQL(t, "postgres", `SHOW work_mem`) != "7MB"; {
		if time.Now().After(deadline) {
			t.Fatal("the reload has no effect")
		}
	}
}

func TestConnectNeverGoesWithoutTLSOverTheNetwork(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "", "run/postgresql"} {
		_, err := Connect(t.Context(), Server{Host: host, User: "u", Database: "d"})
		if err == nil || !strings.Contains(err.Error(), "no TLS configuration") {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

func TestEnvironmentDoesNotRedirect(t *testing.T) {
	t.Setenv("PGHOST", "elsewhere.example")
	t.Setenv("PGPORT", "1")
	t.Setenv("PGUSER", "somebody")
	t.Setenv("PGPASSWORD", "secret")
	t.Setenv("PGSSLMODE", "disable")
	t.Setenv("PGTARGETSESSIONATTRS", "read-only")
	t.Setenv("PGAPPNAME", "other")
	t.Setenv("PGOPTIONS", "-c role=nobody")
	config, err := Server{Host: "db.example", User: "_pgtls", Database: "app", TLS: &tls.Config{ServerName: "db.example"}}.config()
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "db.example" || config.Port != 5432 || config.User != "_pgtls" || config.Database != "app" || config.Password != "" {
		t.Errorf("settings are %s:%d %s/%s %q", config.Host, config.Port, config.User, config.Database, config.Password)
	}
	if config.TLSConfig == nil || len(config.Fallbacks) != 0 || config.ValidateConnect != nil {
		t.Errorf("TLS %v, %d fallbacks", config.TLSConfig, len(config.Fallbacks))
	}
	if len(config.RuntimeParams) != 1 || config.RuntimeParams["application_name"] != "pgtls" {
		t.Errorf("runtime parameters are %v", config.RuntimeParams)
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	mute, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432")) // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := (Local{SocketDir: dir, Port: 5432}).Ready(ctx); err == nil {
		t.Error("a mute server is ready")
	}
	if elapsed := time.Since(start); elapsed > 4*time.Second {
		t.Errorf("gave up after %v only", elapsed)
	}
}

func TestHexadecimal(t *testing.T) {
	for decimal, want := range map[string]string{"255": "ff", "": "", "x": "", "4722366482869645213695": "ffffffffffffffffff"} {
		if got := hexadecimal(decimal); got != want {
			t.Errorf("%q becomes %q, not %q", decimal, got, want)
		}
	}
}

func TestParseSessionNamesWhatItCannotRead(t *testing.T) {
	good := []string{"1", "1700000000.123456", "u", "d", "a", "", "", "", "", "", ""}
	session, err := parseSession(good)
	if err != nil || session.Started.UnixMicro() != 1700000000123456 {
		t.Errorf("%+v, %v", session, err)
	}
	for i, name := range []string{"pid", "start"} {
		bad := append([]string(nil), good...)
		bad[i] = "?"
		if _, err := parseSession(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
