package probe

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

func TestDialTellsWhatIsServed(t *testing.T) {
	domain := newDomain(t, "hippo server ca g1")
	leaf := domain.server("hippo-primary.ns.svc")
	address := listen(t, postgresOf(&tls.Config{Certificates: []tls.Certificate{leaf}}, authenticationOK()))
	served, err := Dial(within(t, 10*time.Second), Target{
		Address: address, Protocol: Postgres, ServerName: "hippo-primary.ns.svc", Anchors: domain.anchors(), At: start,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !served.Leaf.Equal(pki.Facts(leaf.Leaf)) || len(served.Chain) != 1 || served.Version != "TLS 1.3" || served.ClientRequested {
		t.Errorf("served is %+v", served)
	}
}

// What strict verifiers alone refuse is taken where the chain may come from elsewhere.
func TestLenientChains(t *testing.T) {
	domain := newDomain(t, "by hand")
	root := &pkitest.Certificate{Certificate: domain.authority.Certificate, Key: domain.authority.Key}
	leaf := root.Leaf("server", pkitest.ByHand, pkitest.Valid(start.Add(-time.Minute), start.Add(time.Hour)))
	address := listen(t, postgresOf(&tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, nil))
	for lenient, want := range map[bool]pki.Reason{true: "", false: pki.KeyIdentifierMissing} {
		_, err := Dial(within(t, 10*time.Second), Target{Address: address, Protocol: Postgres, Anchors: domain.anchors(), At: start, Lenient: lenient})
		if got := pki.ReasonOf(err); got != want || want == "" && err != nil {
			t.Errorf("lenient %v: %v", lenient, err)
		}
	}
}

func TestReasons(t *testing.T) {
	server, client := newDomain(t, "hippo server ca g1"), newDomain(t, "hippo client ca g1")
	stranger := newDomain(t, "stranger ca g1")
	good := server.server("db.example")
	expired := server.issue(pki.LeafRequest{
		CommonName: "server", DNSNames: []string{"db.example"}, Usage: pki.ServerAuth, NotBefore: start.Add(-30 * time.Minute), NotAfter: start.Add(-time.Minute),
	})
	plain := &tls.Config{Certificates: []tls.Certificate{good}}
	mutual := &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: client.pool()}
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	http403 := func(conn net.Conn) {
		secured := tls.Server(conn, mutual)
		_, _ = secured.Read(make([]byte, 512))
		_, _ = secured.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
	}

	tests := []struct {
		name   string
		server func(net.Conn)
		target func(*Target)
		reason Reason
		pki    pki.Reason
	}{
		{name: "good", server: postgresOf(plain, nil)},
		{name: "good over PgBouncer", server: postgresOf(plain, nil), target: func(c *Target) { c.Protocol = PGBouncer }},
		{name: "good client", server: postgresOf(mutual, authenticationOK()), target: func(c *Target) { c.ClientCertificate = client.client("_pgtls") }},
		{name: "client that needs a password too", server: postgresOf(mutual, []byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}), target: func(c *Target) { c.ClientCertificate = client.client("_pgtls") }},
		{name: "role that is not there", server: postgresOf(mutual, append(authenticationOK()[:9:9], failure("28000", "role does not exist")...)), target: func(c *Target) { c.ClientCertificate = client.client("_pgtls") }, reason: ClientRefused},
		{name: "busy is not refused", server: postgresOf(mutual, failure("57P03", "starting up")), target: func(c *Target) { c.ClientCertificate = client.client("_pgtls") }},
		{name: "no TLS", server: says("N"), reason: Plaintext},
		{name: "another protocol", server: says("HTTP/1.1 400 Bad Request\r\n\r\n"), reason: UnexpectedReply},
		{name: "hangs up", server: func(net.Conn) {}, reason: UnexpectedReply},
		{name: "TLS 1.2 only", server: postgresOf(mutual12, nil), reason: HandshakeFailed},
		{name: "broken handshake", server: says("Sgarbage that is no TLS record"), reason: HandshakeFailed},
		{name: "stranger's authority", server: postgresOf(plain, nil), target: func(c *Target) { c.Anchors = stranger.anchors() }, reason: Untrusted, pki: pki.UnknownAuthority},
		{name: "expired", server: postgresOf(&tls.Config{Certificates: []tls.Certificate{expired}}, nil), reason: Untrusted, pki: pki.Expired},
		{name: "other name", server: postgresOf(plain, nil), target: func(c *Target) { c.ServerName = "other.example" }, reason: NameMismatch, pki: pki.NameMissing},
		{name: "client of a stranger", server: postgresOf(mutual, authenticationOK()), target: func(c *Target) { c.ClientCertificate = stranger.client("_pgtls") }, reason: ClientRefused},
		{name: "client of a stranger under TLS 1.2", server: postgresOf(mutual12, authenticationOK()), target: func(c *Target) {
			c.ClientCertificate, c.MinVersion = stranger.client("_pgtls"), tls.VersionTLS12
		}, reason: ClientRefused},
		{name: "client with another role", server: postgresOf(mutual, failure("28000", "certificate authentication failed")), target: func(c *Target) { c.ClientCertificate = client.client("_pgtls") }, reason: ClientRefused},
		{name: "403", server: http403, target: func(c *Target) { c.Protocol, c.ClientCertificate = HTTPS, client.client("_pgtls") }, reason: ClientRefused},
		{name: "client of a stranger over HTTPS", server: http403, target: func(c *Target) { c.Protocol, c.ClientCertificate = HTTPS, stranger.client("_pgtls") }, reason: ClientRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			target := Target{Address: listen(t, test.server), Protocol: Postgres, ServerName: "db.example", Anchors: server.anchors(), At: start, User: "_pgtls", Database: "postgres"}
			if test.target != nil {
				test.target(&target)
			}
			served, err := Dial(within(t, 10*time.Second), target)
			if got := ReasonOf(err); got != test.reason || err != nil && test.reason == "" {
				t.Fatalf("reason %q, want %q: %v", got, test.reason, err)
			}
			if got := pki.ReasonOf(err); got != test.pki {
				t.Errorf("pki reason %q, want %q", got, test.pki)
			}
			if wantsFacts := test.reason == "" || test.pki != "" || test.reason == ClientRefused; wantsFacts && served.Leaf.Serial == "" {
				t.Error("what was presented is not told")
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "probing "+target.Address+": "+string(test.reason)) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("the message is %q", err)
			}
		})
	}
}

func TestAClosedPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if _, err := Dial(within(t, 10*time.Second), Target{Address: address, Protocol: Postgres}); ReasonOf(err) != Refused {
		t.Errorf("dialing a closed port: %v", err)
	}
	if err := PlaintextRefused(within(t, 10*time.Second), Target{Address: address, Protocol: Postgres}); ReasonOf(err) != Refused {
		t.Errorf("dialing a closed port: %v", err)
	}
}

// A server that stops answering at any stage holds no caller up longer than the context, and leaves no goroutine behind.
func TestTimesOutAtEveryStageWithoutLeaks(t *testing.T) {
	domain := newDomain(t, "hippo server ca g1")
	config := &tls.Config{Certificates: []tls.Certificate{domain.server("db.example")}, ClientAuth: tls.RequestClientCert}
	release := make(chan struct{})
	stages := map[string]func(net.Conn){
		"before the answer to SSLRequest": func(net.Conn) { <-release },
		"before the handshake": func(conn net.Conn) {
			_, _ = readStartup(conn)
			_, _ = conn.Write([]byte("S"))
			<-release
		},
		"before the answer to the start-up": func(conn net.Conn) {
			_, _ = readStartup(conn)
			_, _ = conn.Write([]byte("S"))
			_, _ = readStartup(tls.Server(conn, config))
			<-release
		},
		"in the middle of the answer": func(conn net.Conn) {
			_, _ = readStartup(conn)
			_, _ = conn.Write([]byte("S"))
			secured := tls.Server(conn, config)
			_, _ = readStartup(secured)
			_, _ = secured.Write([]byte("E\x00"))
			<-release
		},
	}
	addresses := map[string]string{}
	for stage, server := range stages {
		addresses[stage] = listen(t, server)
	}
	for stage, address := range addresses {
		target := Target{Address: address, Protocol: Postgres, ClientCertificate: newDomain(t, "c").client("u"), User: "u", Database: "d"}
		if _, err := Dial(within(t, 30*time.Millisecond), target); ReasonOf(err) != TimedOut {
			t.Errorf("%s: by deadline: %v", stage, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		if _, err := Dial(ctx, target); ReasonOf(err) != TimedOut {
			t.Errorf("%s: by cancelling: %v", stage, err)
		}
	}
	close(release)
	awaitNoProbe(t)
}

// awaitNoProbe fails when a goroutine stays in this package's production code.
func awaitNoProbe(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !strings.Contains(string(stacks), "probe.Dial") && !strings.Contains(string(stacks), "HandshakeContext") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a probe goes on:\n%s", stacks)
		}
	}
}

func TestHTTPS(t *testing.T) {
	server, client := newDomain(t, "hippo server ca g1"), newDomain(t, "hippo client ca g1")
	var path, identity string
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, identity = r.Method+" "+r.URL.Path, r.TLS.PeerCertificates[0].Subject.CommonName
	}))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{server.server("pod.example")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: client.pool()}
	web.StartTLS()
	t.Cleanup(web.Close)
	served, err := Dial(within(t, 10*time.Second), Target{
		Address: web.Listener.Addr().String(), Protocol: HTTPS, ServerName: "pod.example", Anchors: server.anchors(), At: start,
		ClientCertificate: client.client("_pgtls"), Path: "/v1/report",
	})
	if err != nil {
		t.Fatal(err)
	}
	if path != "HEAD /v1/report" || identity != "_pgtls" || !slices.Equal(served.AcceptedIssuers, []string{"CN=hippo client ca g1"}) {
		t.Errorf("%q as %q, accepted issuers %q", path, identity, served.AcceptedIssuers)
	}
}

func TestPlaintextRefused(t *testing.T) {
	plainAnswer := func(answer []byte) func(net.Conn) { return says(string(answer)) }
	tests := []struct {
		name     string
		server   func(net.Conn)
		protocol Protocol
		reason   Reason
	}{
		{"no line in pg_hba.conf", plainAnswer(failure("28000", "no pg_hba.conf entry")), Postgres, ""},
		{"PgBouncer wants TLS", plainAnswer(failure("08P01", "SSL required")), PGBouncer, ""},
		{"asks for a password", plainAnswer([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}), Postgres, PlaintextAccepted},
		{"lets in", plainAnswer(authenticationOK()), Postgres, PlaintextAccepted},
		{"starting up proves nothing", plainAnswer(failure("57P03", "starting up")), Postgres, UnexpectedReply},
		{"hangs up proves nothing", func(net.Conn) {}, Postgres, UnexpectedReply},
		{"another protocol", says("SSH-2.0-x\r\n"), Postgres, UnexpectedReply},
		{"Go's HTTPS", says("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"), HTTPS, ""},
		{"hangs up", func(conn net.Conn) { _, _ = conn.Read(make([]byte, 512)) }, HTTPS, ""},
		{"answers", says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), HTTPS, PlaintextAccepted},
		{"another protocol than HTTPS", says("SSH-2.0-x\r\n"), HTTPS, UnexpectedReply},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := PlaintextRefused(within(t, 10*time.Second), Target{Address: listen(t, test.server), Protocol: test.protocol, User: "u", Database: "d"})
			if got := ReasonOf(err); got != test.reason || err != nil && test.reason == "" {
				t.Errorf("reason %q, want %q: %v", got, test.reason, err)
			}
		})
	}
}

func TestRealPostgreSQL(t *testing.T) {
	server, client, stranger := newDomain(t, "hippo server ca g1"), newDomain(t, "hippo client ca g1"), newDomain(t, "stranger ca g1")
	database := startPostgres(t, server, client)
	target := Target{Address: database.Address(), Protocol: Postgres, ServerName: "db.example", Anchors: server.anchors(), At: start, User: "_pgtls", Database: "postgres"}

	served, err := Dial(within(t, 10*time.Second), target)
	if err != nil || served.Version != "TLS 1.3" || !slices.Equal(served.AcceptedIssuers, []string{"CN=hippo client ca g1"}) {
		t.Fatalf("served %+v, %v", served, err)
	}
	target.ClientCertificate = client.client("_pgtls")
	if _, err := Dial(within(t, 10*time.Second), target); ReasonOf(err) != ClientRefused {
		t.Errorf("a role that is not there: %v", err)
	}
	database.SQL(t, "postgres", "CREATE ROLE _pgtls LOGIN")
	if served, err := Dial(within(t, 10*time.Second), target); err != nil || served.Answer != "Z" {
		t.Errorf("a good client: answer %q, %v", served.Answer, err)
	}
	target.ClientCertificate = client.client("alice")
	if _, err := Dial(within(t, 10*time.Second), target); ReasonOf(err) != ClientRefused {
		t.Errorf("a certificate of another role: %v", err)
	}
	target.ClientCertificate = stranger.client("_pgtls")
	if _, err := Dial(within(t, 10*time.Second), target); ReasonOf(err) != ClientRefused {
		t.Errorf("a certificate of a stranger: %v", err)
	}
	if err := PlaintextRefused(within(t, 10*time.Second), target); err != nil {
		t.Errorf("plaintext: %v", err)
	}
	target.User = "postgres"
	target.Database = "open"
	if err := PlaintextRefused(within(t, 10*time.Second), target); ReasonOf(err) != PlaintextAccepted {
		t.Errorf("plaintext where a line matches: %v", err)
	}
}

func startPostgres(t *testing.T, server, client domain) *pgtest.Server {
	t.Helper()
	database := pgtest.Prepare(t)
	certificate := server.server("db.example")
	pair := pki.KeyPair{Chain: []*x509.Certificate{certificate.Leaf}, Key: certificate.PrivateKey.(crypto.Signer)}
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"server.crt": pair.EncodeChain(), "server.key": key, "ca.crt": client.authority.EncodeCertificate()} {
		path := filepath.Join(database.DataDir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		database.Own(t, path)
	}
	database.Start(t, pgtest.Options{
		Settings: map[string]string{"ssl": "on", "ssl_ca_file": "ca.crt", "ssl_min_protocol_version": "TLSv1.3"},
		HBA:      []string{"hostssl all all all cert", "hostnossl open all all trust"},
	})
	return database
}

func TestReasonsAreClosed(t *testing.T) {
	seen := map[Reason]bool{}
	for _, reason := range Reasons() {
		if seen[reason] || reason == "" {
			t.Errorf("%q stands twice or is empty", reason)
		}
		seen[reason] = true
		err := &Error{Reason: reason, Address: "a", Err: errors.New("x")}
		if ReasonOf(errors.Join(errors.New("y"), err)) != reason {
			t.Errorf("%q is lost under wrapping", reason)
		}
	}
	if ReasonOf(nil) != "" || ReasonOf(errors.New("x")) != "" {
		t.Error("an error of another kind has a reason")
	}
}
