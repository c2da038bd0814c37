package tls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/revocation"
)

const (
	aliceSecret  = "hippo-pguser-alice-cert"
	bobSecret    = "hippo-pguser-bob-cert"
	ledgerSecret = "hippo-client-certificates"
)

func withCertificates(names ...string) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) {
		c.Spec.Users = nil
		for _, name := range names {
			c.Spec.Users = append(c.Spec.Users, v1beta1.UserSpec{Name: name, ClientCertificate: &v1beta1.ClientCertificateSpec{}})
		}
	}
}

// revokeIssuedBefore is what a user writes, in whole seconds.
func revokeIssuedBefore(user string, at time.Time) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) {
		i := slices.IndexFunc(c.Spec.Users, func(u v1beta1.UserSpec) bool { return u.Name == user })
		c.Spec.Users[i].ClientCertificate.RevokeIssuedBefore = &metav1.Time{Time: at}
	}
}

// endSessions is what a PostgreSQL does.
func (h *fixture) endSessions(_ context.Context, server postgres.Server, serials []string) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pods[server.Host]
	if p == nil {
		return 0, agenttest.ErrNobodyListens
	}
	for _, serial := range serials {
		h.swept = append(h.swept, p.name+" "+serial)
	}
	return len(serials), nil
}

// certificateIn reads an application's Secret.
func (h *fixture) certificateIn(name string) *pki.KeyPair {
	h.t.Helper()
	secret := h.secret(name)
	pair, err := pki.ParseKeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		h.t.Fatalf("Secret %s: %v", name, err)
	}
	return pair
}

func serialOf(pair *pki.KeyPair) string { return pki.Facts(pair.Leaf()).Serial }

func (h *fixture) ledger() map[string]facts.Issued {
	h.t.Helper()
	issued, err := material.ReadLedger(h.secret(ledgerSecret))
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]facts.Issued{}
	for _, one := range issued {
		out[one.Serial] = one
	}
	return out
}

func TestAUserGetsACertificateOfHisOwn(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice"))
	h.reconcile()
	pair, secret := h.certificateIn(aliceSecret), h.secret(aliceSecret)
	authority, err := pki.ParseBundle(h.secret("hippo-client-ca-g1").Data[material.AuthorityCertificate])
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: authority, At: h.now, Usage: pki.ClientAuth}); err != nil || pair.Leaf().Subject.String() != "CN=alice" {
		t.Errorf("the certificate of %s: %v", pair.Leaf().Subject, err)
	}
	if diff := cmp.Diff([]string{"ca.crt", "tls.crt", "tls.key"}, tlstest.SortedKeys(secret.Data)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	var config corev1.ConfigMap
	if err := h.client.Get(t.Context(), h.key("hippo-ca"), &config); err != nil || config.Data["ca.crt"] != string(secret.Data["ca.crt"]) {
		t.Errorf("ca.crt is not what the ConfigMap holds (%v)", err)
	}
	want := map[string]facts.Issued{serialOf(pair): {User: "alice", Serial: serialOf(pair), IssuerKeyID: pki.Facts(pair.Leaf()).IssuerKeyID, At: h.now, NotAfter: pair.Leaf().NotAfter}}
	if diff := cmp.Diff(want, h.ledger()); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("at rest there are writes: %v", writes)
	}
	status := h.cluster().Status.TLS.ClientCertificates
	if len(status) != 1 || status[0].User != "alice" || status[0].Serial != serialOf(pair) || status[0].Replaced+status[0].Revoked != 0 {
		t.Errorf("status = %+v", status)
	}
}

// After whichever write the operator dies: a certificate is in the ledger before a client can take it, and what is revoked is so
// for good.
// A Secret that cannot be written fills no ledger: what was noted and never stored is replaced at the next attempt.
func TestASecretThatCannotBeWrittenFillsNoLedger(t *testing.T) {
	refusals := map[string]error{
		"quota":  apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, aliceSecret, errors.New("exceeded quota: few, requested: secrets=1, used: secrets=7, limited: secrets=7")),
		"answer": errors.New("read tcp 10.0.0.1:50123: i/o timeout"),
	}
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.reconcile()
			h.around = func(write string, do func() error) error {
				if write == "create "+aliceSecret {
					return refusal
				}
				return do()
			}
			h.change(withCertificates("alice", "bob"))
			for range 10 {
				h.reconcile()
				h.pass(retryMax)
			}
			if noted := h.ledger(); len(noted) != 2 {
				t.Errorf("%d certificates are noted, want one of each user", len(noted))
			}
			h.around = nil
			h.reconcile()
			h.everyCertificateIsNoted()
			if noted := h.ledger(); len(noted) != 2 {
				t.Errorf("then %d certificates are noted", len(noted))
			}
		})
	}
}

// A write that was done and not answered leaves a certificate, and its entry stays.
func TestACertificateThatWasStoredAfterAllIsNoted(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	h.around = func(write string, do func() error) error {
		err := do()
		if write == "create "+aliceSecret {
			return errors.New("timeout")
		}
		return err
	}
	h.change(withCertificates("alice"))
	for range 3 {
		h.reconcile()
		h.pass(retryMax)
	}
	h.everyCertificateIsNoted()
	if noted := h.ledger(); len(noted) != 1 {
		t.Errorf("%d certificates are noted", len(noted))
	}
}

func TestWalkAUserHasOnlySoManyCertificates(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice"))
	h.reconcile()
	for n := range act.MaxCertificates + 3 {
		h.request(fmt.Sprint(n))
		h.reconcile()
	}
	if noted := h.ledger(); len(noted) != act.MaxCertificates {
		t.Errorf("%d certificates are noted", len(noted))
	}
	if c := h.cluster().Status.Conditions[0]; c.Reason != "StepFailed" || !strings.Contains(c.Message, "LedgerFull") || !strings.Contains(c.Message, "alice") {
		t.Errorf("condition = %+v", c)
	}
}

func TestACrashNeverLeavesACertificateWithoutAnEntry(t *testing.T) {
	crashes(t, func(t *testing.T, n int) bool {
		h := newFixture(t)
		h.reconcile()
		h.change(withCertificates("alice", "bob"))
		crashed := h.crashAfter(n, h.everyCertificateIsNoted)
		_, err := h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
		if *crashed && !errors.Is(err, errCrash) {
			t.Errorf("err = %v, want the crash", err)
		}
		h.ends()
		h.everyCertificateIsNoted()
		return *crashed
	})
}

func (h *fixture) everyCertificateIsNoted() {
	h.t.Helper()
	stored := h.stored()
	for _, name := range []string{aliceSecret, bobSecret} {
		if stored[name] == nil {
			continue
		}
		if serial := serialOf(h.certificateIn(name)); h.ledger()[serial].Serial != serial {
			h.t.Errorf("certificate %s of %s is not in the ledger", serial, name)
		}
	}
}

func TestWalkACrashDuringARevocationIsMadeGood(t *testing.T) {
	crashes(t, func(t *testing.T, n int) bool {
		h := newFixture(t)
		h.change(withCertificates("alice", "bob"))
		h.reconcile()
		alice, bob := serialOf(h.certificateIn(aliceSecret)), serialOf(h.certificateIn(bobSecret))
		h.pass(time.Minute)
		h.change(revokeIssuedBefore("alice", h.now))
		crashed := h.crashAfter(n, h.everyCertificateIsNoted)
		_, err := h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
		if *crashed && !errors.Is(err, errCrash) {
			t.Errorf("err = %v, want the crash", err)
		}
		h.ends()
		if ledger := h.ledger(); ledger[alice].RevokedAt.IsZero() || !ledger[bob].RevokedAt.IsZero() {
			t.Errorf("ledger: %+v", ledger)
		}
		if serialOf(h.certificateIn(aliceSecret)) == alice || serialOf(h.certificateIn(bobSecret)) != bob {
			t.Error("alice has no new certificate, or bob another")
		}
		for _, name := range []string{"hippo-a-0-tls", "hippo-a-1-tls"} {
			if diff := cmp.Diff([]string{alice}, h.listed(name)); diff != "" {
				t.Errorf("%s lists (-want +got):\n%s", name, diff)
			}
		}
		return *crashed
	})
}

// listed are the serial numbers on the lists of an instance, without canaries; each anchor must have a list.
func (h *fixture) listed(name string) (serials []string) {
	h.t.Helper()
	secret := h.secret(name)
	lists, err := pki.ParseRevocationLists(secret.Data[agentapi.RevocationLists])
	if err != nil {
		h.t.Fatalf("Secret %s: %v", name, err)
	}
	anchors, err := pki.ParseBundle(secret.Data[agentapi.ClientBundle])
	if err == nil {
		err = pki.CheckRevocationLists(lists, anchors, h.now)
	}
	if err != nil {
		h.t.Errorf("the lists of %s: %v", name, err)
	}
	for _, list := range lists {
		serials = append(serials, slices.DeleteFunc(pki.FactsOfRevocationList(list).Serials, material.IsCanary)...)
	}
	return serials
}

// revokedAlice is a cluster at rest in which alice's certificate was just revoked, and she has another one.
func revokedAlice(t *testing.T) (h *fixture, pods map[string]*simPod, alice, bob *pki.KeyPair) {
	t.Helper()
	h, pods = hippos(t)
	h.change(withCertificates("alice", "bob"))
	h.quiet()
	alice, bob = h.certificateIn(aliceSecret), h.certificateIn(bobSecret)
	h.pass(time.Minute)
	h.change(revokeIssuedBefore("alice", h.clock()))
	return h, pods, alice, bob
}

var instancesInOrder = []string{"hippo-a-1-0", "hippo-a-2-0", "hippo-a-0-0"}

func TestARevokedCertificateIsRefusedByTheCanaryAndThenByAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods, alice, bob := revokedAlice(t)
		for _, together := range [][]string{{"hippo-a-1-0"}, {"hippo-a-0-0", "hippo-a-2-0"}} {
			if got := h.podActions(pods); !slices.Equal(got, together) {
				t.Fatalf("asked %v, want %v", got, together)
			}
			for _, name := range together {
				if !h.accepts(pods[name], alice.Leaf()) {
					t.Errorf("%s refuses alice before it was asked to", name)
				}
				pods[name].install()
			}
		}
		h.quietKeepingEvents()
		slices.Sort(h.swept)
		for _, name := range instancesInOrder {
			p := pods[name]
			if h.accepts(p, alice.Leaf()) || !h.accepts(p, bob.Leaf()) || !h.accepts(p, h.certificateIn(aliceSecret).Leaf()) {
				t.Errorf("%s: alice's old one %v, bob %v, alice's new one %v", name, h.accepts(p, alice.Leaf()), h.accepts(p, bob.Leaf()), h.accepts(p, h.certificateIn(aliceSecret).Leaf()))
			}
		}
		var want []string
		for _, name := range slices.Sorted(slices.Values(instancesInOrder)) {
			want = append(want, name+" "+serialOf(alice))
		}
		if diff := cmp.Diff(want, h.swept); diff != "" {
			t.Errorf("sessions that were ended (-want +got):\n%s", diff)
		}
		text := strings.Join(h.events(), "\n")
		for _, event := range []string{"Revoked certificate " + serialOf(alice) + " of user alice is revoked (Requested)", "SessionsEnded 1 sessions of pod hippo-a-0-0 were ended"} {
			if !strings.Contains(text, event) {
				t.Errorf("no event %q in\n%s", event, text)
			}
		}
		if strings.Contains(text, serialOf(bob)) {
			t.Errorf("an event tells of bob:\n%s", text)
		}
		h.pass(revocation.AuthenticationTimeout)
		h.quiet()
		if len(h.swept) != 6 {
			t.Errorf("the session that was about to begin is not ended: %v", h.swept)
		}
	})
}

// That PostgreSQL has not taken a list shows on the wire alone.
func TestListsThatAreNotInForceStopTheStage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods, _, _ := revokedAlice(t)
		h.podActions(pods)
		canary := pods["hippo-a-1-0"]
		canary.keepLists = true
		canary.install()
		for range 3 {
			if got := h.podActions(pods); len(got) > 0 {
				t.Fatalf("the canary has not loaded its lists, and asked are %v", got)
			}
		}
		blockers := h.cluster().Status.TLS.Blockers
		if len(blockers) == 0 || blockers[0].Party != canary.name || blockers[0].Reason != string(reason.NotProven) || !strings.Contains(blockers[0].Message, "a revoked certificate is accepted") {
			t.Fatalf("blockers = %+v", blockers)
		}
		if len(h.swept) > 0 {
			t.Errorf("sessions were ended where the next login would be let in: %v", h.swept)
		}
		canary.keepLists = false
		canary.install()
		h.pass(2 * time.Second)
		if got := h.podActions(pods); !slices.Equal(got, []string{"hippo-a-0-0", "hippo-a-2-0"}) {
			t.Errorf("the lists are loaded, and asked are %v", got)
		}
	})
}

func TestAListIsSignedAnewOnlyForNews(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice", "bob"))
	h.reconcile()
	h.pass(time.Minute)
	h.change(revokeIssuedBefore("alice", h.now))
	h.reconcile()
	first := h.secret("hippo-a-0-tls").Data[agentapi.RevocationLists]
	if other := h.secret("hippo-a-1-tls").Data[agentapi.RevocationLists]; !bytes.Equal(first, other) {
		t.Error("two instances have different lists")
	}
	h.pass(time.Hour)
	h.request("renewed")
	h.reconcile()
	if again := h.secret("hippo-a-0-tls").Data[agentapi.RevocationLists]; !bytes.Equal(first, again) {
		t.Error("a renewal signs the same list anew")
	}
	h.change(revokeIssuedBefore("bob", h.now))
	h.reconcile()
	next := h.secret("hippo-a-0-tls").Data[agentapi.RevocationLists]
	numbers := func(text []byte) int64 {
		lists, err := pki.ParseRevocationLists(text)
		if err != nil {
			t.Fatal(err)
		}
		return pki.FactsOfRevocationList(lists[0]).Number
	}
	if numbers(next) <= numbers(first) {
		t.Errorf("the list after number %d has number %d", numbers(first), numbers(next))
	}
}

func TestWhoIsToHaveNoCertificateAnyMoreLosesIt(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice", "bob"))
	h.reconcile()
	alice := serialOf(h.certificateIn(aliceSecret))
	h.change(withCertificates("bob"))
	h.reconcile()
	if h.stored()[aliceSecret] != nil {
		t.Error("the Secret is still there")
	}
	if diff := cmp.Diff([]string{alice}, h.listed("hippo-a-0-tls")); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
	for _, status := range h.cluster().Status.TLS.ClientCertificates {
		if status.User == "alice" && (status.Revoked != 1 || status.Serial != "") {
			t.Errorf("status = %+v", status)
		}
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("at rest there are writes: %v", writes)
	}
}

// The ledger is deleted: what is known otherwise is enough to go on refusing what is revoked, and to know of what is held.
func TestADeletedLedgerIsMadeAgain(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice", "bob"))
	h.reconcile()
	alice, bob := serialOf(h.certificateIn(aliceSecret)), serialOf(h.certificateIn(bobSecret))
	h.pass(time.Minute)
	h.change(revokeIssuedBefore("alice", h.now))
	h.reconcile()
	h.delete(h.secret(ledgerSecret))
	h.pass(time.Minute)
	h.request("renewed")
	h.reconcile()
	ledger := h.ledger()
	if ledger[alice].RevokedAt.IsZero() || ledger[bob].User != "bob" || !ledger[bob].RevokedAt.IsZero() {
		t.Errorf("ledger = %+v", ledger)
	}
	if diff := cmp.Diff([]string{alice}, h.listed("hippo-a-0-tls")); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
}

func TestNothingIsIssuedWhatTheLedgerCannotTake(t *testing.T) {
	for name, damage := range map[string]func(*corev1.Secret){
		"garbled":                  func(s *corev1.Secret) { s.Data["abc"] = []byte("{") },
		"without owner and labels": func(s *corev1.Secret) { s.OwnerReferences, s.Labels = nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.change(withCertificates("alice"))
			h.reconcile()
			h.damage(ledgerSecret, damage)
			h.change(withCertificates("alice", "bob"))
			h.reconcile()
			if h.stored()[bobSecret] != nil {
				t.Error("a certificate was issued")
			}
			blockers := fmt.Sprint(h.cluster().Status.TLS.Blockers)
			if !strings.Contains(blockers, string(reason.LedgerUnreadable)) && !strings.Contains(blockers, string(reason.ForeignSecret)) {
				t.Errorf("blockers = %s", blockers)
			}
		})
	}
}

// The list of an authority whose Secret is lost is kept as it is, so that the next one can be brought in.
func TestTheListOfALostAuthorityIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods, alice, _ := revokedAlice(t)
		for range 3 {
			for _, name := range h.podActions(pods) {
				pods[name].install()
			}
		}
		h.quiet()
		h.lose("hippo-client-ca-g1")
		h.pass(time.Minute)
		h.podActions(pods)
		anchors, err := pki.ParseBundle(h.secret("hippo-a-1-tls").Data[agentapi.ClientBundle])
		if err != nil || len(anchors) != 2 {
			t.Fatalf("%d anchors, %v", len(anchors), err)
		}
		if diff := cmp.Diff([]string{serialOf(alice)}, h.listed("hippo-a-1-tls")); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
	})
}

func TestACanaryIsNoUsersCertificate(t *testing.T) {
	h := newFixture(t)
	h.change(withCertificates("alice"))
	h.reconcile()
	if serial := serialOf(h.certificateIn(aliceSecret)); material.IsCanary(serial) {
		t.Errorf("%s is taken for a canary", serial)
	}
	for _, number := range []int64{0, 1, 1 << 40} {
		if serial := material.CanarySerial(number); !material.IsCanary(serial) || material.CanarySerial(number+1) == serial {
			t.Errorf("the canary of list %d is %s", number, serial)
		}
	}
}
