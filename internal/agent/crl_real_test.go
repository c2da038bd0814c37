package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

// application issues a client's leaf; bridges follow it.
func (k *kit) application(a *pki.Authority, user string, bridges ...*x509.Certificate) *pki.KeyPair {
	k.t.Helper()
	pair, err := a.Issue(pki.LeafRequest{CommonName: user, Usage: pki.ClientAuth, NotBefore: k.start.Add(-time.Minute), NotAfter: k.start.Add(day)})
	if err != nil {
		k.t.Fatal(err)
	}
	pair.Chain = append(pair.Chain, bridges...)
	return pair
}

// list is what an authority has revoked.
func (k *kit) list(a *pki.Authority, revoked ...*pki.KeyPair) []byte {
	k.t.Helper()
	request := pki.RevocationListRequest{Number: 1, ThisUpdate: k.start.Add(-time.Minute)}
	for _, pair := range revoked {
		request.Revoked = append(request.Revoked, pki.Revocation{Serial: pki.Facts(pair.Leaf()).Serial, At: k.start})
	}
	list, err := a.RevocationList(request)
	if err != nil {
		k.t.Fatal(err)
	}
	return pki.EncodeRevocationLists([]*x509.RevocationList{list})
}

// logIn connects as the user that a pair names.
func logIn(ctx context.Context, database *pgtest.Server, pair *pki.KeyPair) (*postgres.Conn, error) {
	certificate := pair.TLS()
	return postgres.Connect(ctx, postgres.Server{Host: "127.0.0.1", Port: database.Port, User: pair.Leaf().Subject.CommonName, Database: "postgres",
		TLS: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }}})
}

func mustLogIn(t *testing.T, database *pgtest.Server, pair *pki.KeyPair) *postgres.Conn {
	t.Helper()
	conn, err := logIn(t.Context(), database, pair)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// wantRefused also wants to be told why. Under TLS 1.3 the alert arrives after the client's handshake: a client that writes
// first may find the connection reset before it has read it.
func wantRefused(t *testing.T, database *pgtest.Server, pair *pki.KeyPair, alert string) {
	t.Helper()
	var last error
	for range 20 {
		conn, err := logIn(t.Context(), database, pair)
		if err == nil {
			conn.Close(t.Context())
			t.Errorf("%s is let in", pair.Leaf().Subject)
			return
		}
		if last = err; strings.Contains(err.Error(), alert) {
			return
		}
	}
	t.Errorf("%s is refused with %v, want %s", pair.Leaf().Subject, last, alert)
}

func TestARevokedCertificateIsRefusedByAMereReload(t *testing.T) {
	r := startReal(t)
	first := r.material(usual())
	r.volume.deliver(first)
	r.await(t, "material installed", func(report agentapi.Report) bool {
		return report.Problem != nil && report.Problem.Reason == agentapi.ProcessNotReady
	})
	r.startPostgres(t)
	r.awaitActive(t, first)
	r.database.SQL(t, "postgres", "CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN")
	alice, renewed, bob := r.application(r.client, "alice"), r.application(r.client, "alice"), r.application(r.client, "bob")
	sessions := []*postgres.Conn{mustLogIn(t, r.database, alice), mustLogIn(t, r.database, bob)}

	revoked := first.with(agentapi.RevocationLists, r.list(r.client, alice))
	r.volume.deliver(revoked)
	asked := time.Now()
	r.pod.ask(revoked.revision())
	r.awaitActive(t, revoked)
	wantRefused(t, r.database, alice, "revoked certificate")
	t.Logf("asked to refused: %v", time.Since(asked))
	mustLogIn(t, r.database, bob)
	mustLogIn(t, r.database, renewed)
	for _, session := range sessions { // PostgreSQL ends none by itself
		if _, err := session.Query(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("a session was ended: %v", err)
		}
	}
	local, err := postgres.Connect(t.Context(), postgres.Server{Host: r.database.SocketDir, Port: r.database.Port, User: "postgres", Database: "postgres"})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close(t.Context())
	if ended, err := postgres.EndSessions(t.Context(), local, []string{pki.Facts(alice.Leaf()).Serial, "ff"}); err != nil || ended != 1 {
		t.Errorf("%d sessions were ended, want alice's: %v", ended, err)
	}
	if _, err := sessions[0].Query(t.Context(), "SELECT 1"); err == nil {
		t.Error("alice's session goes on")
	}
	if _, err := sessions[1].Query(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("bob's session was ended: %v", err)
	}
	if in := r.database.SQL(t, "postgres", "SHOW ssl_crl_file"); in != filepath.Join(r.active, currentLink, agentapi.RevocationLists) {
		t.Errorf("ssl_crl_file is %q", in)
	}

	r.pod.ask(first.revision())
	r.awaitActive(t, first)
	mustLogIn(t, r.database, alice)
	if off := r.database.SQL(t, "postgres", "SHOW ssl_crl_file"); off != "" {
		t.Errorf("after the undo ssl_crl_file is %q", off)
	}
}

// What PostgreSQL does when lists are missing is why the agent refuses such material, see TestListsAreForAllIssuersOrNone.
func TestPostgreSQLWantsAListOfEveryIssuerOnThePath(t *testing.T) {
	k, database := newKit(t, time.Now()), pgtest.Prepare(t)
	g2 := authority(t, "hippo client ca g2", k.start)
	bridge, err := k.client.Bridge(pki.BridgeRequest{Subject: g2.Certificate, NotBefore: k.start.Add(-time.Hour), NotAfter: k.start.Add(100 * day)})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(database.DataDir), "tls")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	database.Own(t, dir)
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		database.Own(t, filepath.Join(dir, name))
	}
	m := k.material(usual())
	for name, content := range m {
		write(name, content)
	}
	database.Start(t, pgtest.Options{HBA: []string{"hostssl all all all cert"}, Settings: map[string]string{
		"ssl": "on", "ssl_cert_file": filepath.Join(dir, agentapi.ServerCertificate), "ssl_key_file": filepath.Join(dir, agentapi.ServerKey),
		"ssl_ca_file": filepath.Join(dir, agentapi.ClientBundle), "include_if_exists": filepath.Join(dir, settingsFile),
	}})
	database.SQL(t, "postgres", "CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN")
	old, revoked, new, behind := k.application(k.client, "alice"), k.application(k.client, "bob"), k.application(g2, "alice"), k.application(g2, "alice", bridge)
	oldList, newList := k.list(k.client, revoked), k.list(g2)
	oldOnly, both := k.client.EncodeCertificate(), append(g2.EncodeCertificate(), k.client.EncodeCertificate()...)

	tests := []struct {
		name     string
		bundle   []byte
		lists    []byte
		in, out  []*pki.KeyPair
		unloaded bool // PostgreSQL keeps what it had
	}{
		{name: "no list at all", bundle: both, in: []*pki.KeyPair{old, revoked, new, behind}},
		{name: "a list of each", bundle: both, lists: append(oldList, newList...), in: []*pki.KeyPair{old, new, behind}, out: []*pki.KeyPair{revoked}},
		{name: "the old one's alone", bundle: both, lists: oldList, in: []*pki.KeyPair{old}, out: []*pki.KeyPair{revoked, new, behind}},
		{name: "a bridge, a list of each", bundle: oldOnly, lists: append(oldList, newList...), in: []*pki.KeyPair{old, behind}, out: []*pki.KeyPair{revoked, new}},
		{name: "a bridge, the old one's list alone", bundle: oldOnly, lists: oldList, in: []*pki.KeyPair{old}, out: []*pki.KeyPair{revoked, behind}},
		{name: "lists off again", bundle: both, in: []*pki.KeyPair{old, revoked, new, behind}},
		{name: "an empty file", bundle: oldOnly, lists: []byte{}, in: []*pki.KeyPair{old, revoked, new, behind}, unloaded: true},
	}
	local := postgres.Local{SocketDir: database.SocketDir, Port: database.Port}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			write(agentapi.ClientBundle, test.bundle)
			_ = os.Remove(filepath.Join(dir, settingsFile))
			if test.lists != nil {
				write(agentapi.RevocationLists, test.lists)
				write(settingsFile, fmt.Appendf(nil, "ssl_crl_file = '%s'\n", filepath.Join(dir, agentapi.RevocationLists)))
			}
			if err := local.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, pair := range test.in {
				mustLogIn(t, database, pair)
			}
			for _, pair := range test.out {
				wantRefused(t, database, pair, "tls: ")
			}
			if said := strings.Contains(database.Log(t), "SSL configuration was not reloaded"); said != test.unloaded {
				t.Errorf("PostgreSQL says that it kept what it had: %v", said)
			}
		})
	}
}
