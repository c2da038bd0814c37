package evidence

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// stand is a pod with real listeners on loopback, and an operator that proves it.
type stand struct {
	t      *testing.T
	world  agenttest.Authorities
	proofs *Proofs
	now    time.Time
	leaf   *pki.KeyPair // served
	ports  map[string]string
	mu     sync.Mutex
	dials  map[string]int
	run    Run
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, now: time.Now(), proofs: NewProofs(nil), ports: map[string]string{}, dials: map[string]int{}}
	s.world = agenttest.NewAuthorities(t, hippo.Name, s.now)
	s.leaf = s.renewed()
	s.run = Run{UID: "pod-uid", Address: "10.0.0.1"}
	for _, address := range []string{"10.0.0.1:8443", "10.0.0.1:8008", "10.0.0.1:5432"} {
		s.listen(address)
	}
	s.proofs.dial = func(ctx context.Context, target probe.Target) (probe.Served, error) {
		s.mu.Lock()
		s.dials[target.Address]++
		target.Address = s.ports[target.Address]
		s.mu.Unlock()
		return probe.Dial(ctx, target)
	}
	return s
}

// renewed is another leaf of the pod.
func (s *stand) renewed() *pki.KeyPair {
	return s.world.Leaf(s.t, facts.Server, "hippo-a-0", podHost)
}

func (s *stand) serve(pair *pki.KeyPair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaf = pair
}

// listen serves TLS on loopback; behind the port of PostgreSQL, as PostgreSQL does.
func (s *stand) listen(address string) net.Listener {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.ports[address] = listener.Addr().String()
	s.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go s.shake(connection, strings.HasSuffix(address, ":5432"))
		}
	}()
	return listener
}

func (s *stand) shake(connection net.Conn, postgres bool) {
	defer func() { _ = connection.Close() }()
	if postgres {
		if _, err := io.ReadFull(connection, make([]byte, 8)); err != nil {
			return
		}
		_, _ = connection.Write([]byte("S"))
	}
	s.mu.Lock()
	certificate := s.leaf.TLS()
	s.mu.Unlock()
	server := tls.Server(connection, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert,
	})
	if server.Handshake() != nil || !postgres {
		return
	}
	if _, err := server.Read(make([]byte, 1024)); err == nil { // the start-up
		_, _ = server.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 0, 'Z', 0, 0, 0, 5, 'I'}) // logged in, ready
	}
}

func (s *stand) endpoints() []Endpoint {
	return []Endpoint{
		{Name: "agent", Port: 8443, Protocol: probe.HTTPS}, {Name: "patroni", Port: 8008, Protocol: probe.HTTPS},
		{Name: "postgres", Port: 5432, Protocol: probe.Postgres, User: agentapi.OperatorIdentity},
	}
}

// prove handshakes now, wanting this leaf, and returns what is known after it.
func (s *stand) prove(revision string, want *pki.KeyPair) (string, []facts.Proof) {
	s.t.Helper()
	serial := s.proofs.Prove(s.t.Context(), Request{
		Run: s.run, Cluster: hippo, ServerName: podHost, Endpoints: s.endpoints(),
		Identity: identityOf(s.t, s.world, agentapi.OperatorIdentity, "r1"), Revision: revision,
		Party: serving(want), Now: s.now,
	})
	return serial, s.known()
}

// serving is a party whose own leaf is served on every port.
func serving(pair *pki.KeyPair) *facts.Party {
	leaf := facts.Leaf{Domain: facts.Server, CertificateFacts: pki.Facts(pair.Leaf())}
	return &facts.Party{Material: facts.Material{Leaves: []facts.Leaf{leaf}}}
}

func (s *stand) known() []facts.Proof { return s.proofs.Of(s.run.UID, s.endpoints(), s.now) }

func TestAProofIsWhatThePortsServe(t *testing.T) {
	s := newStand(t)
	details := pki.Facts(s.leaf.Leaf())
	serial, got := s.prove("r1", s.leaf)
	if serial != details.Serial {
		t.Errorf("serial = %s, want %s", serial, details.Serial)
	}
	want := []facts.Proof{
		{Port: "agent", Fingerprint: details.Fingerprint, Revision: "r1"},
		{Port: "patroni", Fingerprint: details.Fingerprint, Revision: "r1"},
		{Port: "postgres", Process: true, Fingerprint: details.Fingerprint, Revision: "r1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("proofs (-want +got):\n%s", diff)
	}
	s.now = s.now.Add(proofFresh - time.Second)
	if diff := cmp.Diff(want, s.known()); diff != "" {
		t.Errorf("a proof of what is wanted counts for a while (-want +got):\n%s", diff)
	}
	s.now = s.now.Add(time.Second)
	for i := range want {
		want[i].Fingerprint, want[i].Revision = "", ""
	}
	if diff := cmp.Diff(want, s.known()); diff != "" {
		t.Errorf("then it is unknown (-want +got):\n%s", diff)
	}
}

func TestNothingIsKnownOfWhatWasNeverSeen(t *testing.T) {
	s := newStand(t)
	want := []facts.Proof{{Port: "agent"}, {Port: "patroni"}, {Port: "postgres", Process: true}}
	if diff := cmp.Diff(want, s.known()); diff != "" {
		t.Errorf("before any handshake (-want +got):\n%s", diff)
	}
	s.prove("r1", s.leaf)
	s.proofs = NewProofs(nil)
	if diff := cmp.Diff(want, s.known()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if _, ok := s.proofs.Last(s.run.UID, "agent"); ok {
		t.Error("a restart forgets")
	}
}

func TestAProofNamesTheRevisionItWasMadeFor(t *testing.T) {
	s := newStand(t)
	s.prove("r1", s.leaf)
	next := s.renewed()
	s.serve(next)
	if known := s.known(); known[0].Revision != "r1" {
		t.Errorf("revision = %s, want r1: there was no handshake since", known[0].Revision)
	}
	if serial, known := s.prove("r2", next); serial == "" || known[0].Revision != "r2" {
		t.Errorf("after another look: serial %q, %+v", serial, known)
	}
}

func TestALookThatShowsTheOldLeafIsRepeated(t *testing.T) {
	s := newStand(t)
	old, next := s.leaf, s.renewed()
	serial, known := s.prove("r2", next)
	if serial != "" {
		t.Errorf("serial = %s although the old leaf is served", serial)
	}
	if known[2].Fingerprint != pki.Facts(old.Leaf()).Fingerprint || known[2].Problem != "" {
		t.Errorf("known = %+v, want the old leaf's fingerprint", known[2])
	}
	s.now = s.now.Add(proofPauseMin)
	if known := s.known(); known[2].Revision != "" {
		t.Errorf("known = %+v, want it forgotten, to be tried again", known[2])
	}
	s.serve(next)
	if serial, _ := s.prove("r2", next); serial == "" {
		t.Error("the new leaf is served, and was not seen")
	}
}

func TestAFailureIsTriedAgainAfterPausesThatGrow(t *testing.T) {
	s := newStand(t)
	s.proofs.dial = func(context.Context, probe.Target) (probe.Served, error) {
		return probe.Served{}, errors.New("no route")
	}
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		pause *= time.Second
		serial, known := s.prove("r1", s.leaf)
		if want := (facts.Proof{Port: "agent", Revision: "r1", Problem: "no route"}); serial != "" || known[0] != want {
			t.Fatalf("serial %q, known %+v, want %+v", serial, known[0], want)
		}
		s.now = s.now.Add(pause - time.Nanosecond)
		if known := s.known(); known[0].Problem == "" {
			t.Errorf("forgotten before %s have passed", pause)
		}
		s.now = s.now.Add(time.Nanosecond)
		if known := s.known(); known[0] != (facts.Proof{Port: "agent"}) {
			t.Errorf("after %s it is still known: %+v", pause, known[0])
		}
	}
}

func TestASuccessEndsTheRowOfFailures(t *testing.T) {
	s := newStand(t)
	dial := s.proofs.dial
	fail := func(context.Context, probe.Target) (probe.Served, error) { return probe.Served{}, errors.New("no") }
	for _, d := range []func(context.Context, probe.Target) (probe.Served, error){fail, fail, fail, dial, fail} {
		s.proofs.dial = d
		s.prove("r1", s.leaf)
	}
	if last, ok := s.proofs.Last(s.run.UID, "agent"); !ok || last.failures != 1 || last.pause() != proofPauseMin {
		t.Errorf("last = %+v", last)
	}
}

func TestOnePortThatFailsIsNoProof(t *testing.T) {
	s := newStand(t)
	s.listen("10.0.0.1:8008").Close()
	serial, known := s.prove("r1", s.leaf)
	if serial != "" {
		t.Error("one port cannot be reached, and the pod counts as proven")
	}
	if known[0].Problem != "" || known[1].Problem == "" || known[2].Problem != "" {
		t.Errorf("known = %+v, want patroni alone to fail", known)
	}
	if !strings.Contains(known[1].Problem, string(probe.Refused)) {
		t.Errorf("problem = %q, want the reason %s", known[1].Problem, probe.Refused)
	}
}

func TestACertificateThatDoesNotVerifyIsNoProof(t *testing.T) {
	for name, leaf := range map[string]func(s *stand) *pki.KeyPair{
		"another authority": func(s *stand) *pki.KeyPair {
			return agenttest.NewAuthorities(s.t, hippo.Name, s.now).Leaf(s.t, facts.Server, "hippo-a-0", podHost)
		},
		"another name": func(s *stand) *pki.KeyPair { return s.world.Leaf(s.t, facts.Server, "hippo-a-0", "elsewhere") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			s.serve(leaf(s))
			serial, known := s.prove("r1", s.leaf)
			if serial != "" || known[0].Problem == "" || known[0].Fingerprint != "" {
				t.Errorf("serial %q, known %+v", serial, known[0])
			}
		})
	}
}

func TestTheTimeOfALeafIsThatOfTheFirstLook(t *testing.T) {
	s := newStand(t)
	first := s.now
	since := func() time.Time {
		last, _ := s.proofs.Last(s.run.UID, "postgres")
		return last.Since
	}
	s.prove("r1", s.leaf)
	s.now = s.now.Add(time.Hour)
	s.prove("r1", s.leaf)
	if !since().Equal(first) {
		t.Errorf("since = %s, want %s", since(), first)
	}
	s.serve(s.renewed())
	s.prove("r2", s.leaf)
	if !since().Equal(s.now) {
		t.Errorf("since = %s, want that of the new leaf, %s", since(), s.now)
	}
}

func TestProofsOfOthersAreKept(t *testing.T) {
	s := newStand(t)
	rhino := types.NamespacedName{Namespace: "zoo", Name: "rhino"}
	s.prove("r1", s.leaf)
	s.proofs.KeepOnly(rhino, nil)
	s.proofs.KeepOnly(hippo, map[Run]bool{{UID: s.run.UID, Address: "another"}: true})
	if s.known()[0].Fingerprint == "" {
		t.Fatal("forgotten, although it is neither rhino's nor gone")
	}
	s.proofs.KeepOnly(hippo, nil)
	if s.known()[0].Fingerprint != "" || len(s.proofs.seen)+len(s.proofs.cluster) > 0 {
		t.Error("the pod is gone and is remembered")
	}
}

func TestWithoutAnIdentityNothingIsProven(t *testing.T) {
	s := newStand(t)
	if serial := s.proofs.Prove(t.Context(), Request{Run: s.run, Cluster: hippo, Endpoints: s.endpoints(), Now: s.now}); serial != "" {
		t.Errorf("serial = %q", serial)
	}
	if len(s.dials) > 0 {
		t.Errorf("dialed %v", s.dials)
	}
}

func TestAProblemReadsTheSameEachTime(t *testing.T) {
	words := func(port int) string {
		inner := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 9, 9, 9), Port: port},
			Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5432}, Err: errors.New("connection reset by peer")}
		return InWords(&probe.Error{Reason: probe.HandshakeFailed, Address: "10.0.0.1:5432", Err: inner})
	}
	if words(40001) != words(40002) {
		t.Errorf("%q and %q differ", words(40001), words(40002))
	}
	if want := "probing 10.0.0.1:5432: HandshakeFailed: read tcp 10.0.0.1:5432: connection reset by peer"; words(1) != want {
		t.Errorf("got %q, want %q", words(1), want)
	}
}

// What the agents serve is never from elsewhere.
func TestProofsAreAsStrictAsTheEndpoint(t *testing.T) {
	var mu sync.Mutex
	lenient := map[probe.Protocol]bool{}
	p := NewProofs(func(_ context.Context, target probe.Target) (probe.Served, error) {
		mu.Lock()
		defer mu.Unlock()
		lenient[target.Protocol] = target.Lenient
		return probe.Served{}, nil
	})
	p.Prove(t.Context(), Request{
		Identity: &Identity{}, Party: &facts.Party{}, Now: time.Now(),
		Endpoints: []Endpoint{{Name: "agent", Protocol: probe.HTTPS}, {Name: "postgres", Protocol: probe.Postgres}, {Name: "pgbouncer", Protocol: probe.PGBouncer}},
	})
	want := map[probe.Protocol]bool{probe.HTTPS: false, probe.Postgres: true, probe.PGBouncer: true}
	if diff := cmp.Diff(want, lenient); diff != "" {
		t.Errorf("verified as from elsewhere (+), want (-):\n%s", diff)
	}
}
