package tls

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// record is the Secret of what is trusted from elsewhere.
var record = desired.TrustRecord(tlstest.Hippo.Name)

// lost are the ways in which a record is no record any more.
var lost = map[string]func(h *fixture){
	"deleted": func(h *fixture) { h.delete(h.secret(record)) },
	"emptied": func(h *fixture) { h.damage(record, func(s *corev1.Secret) { s.Data = nil }) },
	"garbled": func(h *fixture) {
		h.damage(record, func(s *corev1.Secret) {
			for key := range s.Data {
				s.Data[key] = []byte("nonsense")
			}
		})
	},
	"without its labels": func(h *fixture) { h.damage(record, func(s *corev1.Secret) { s.Labels = nil }) },
}

func TestWalkALostRecordIsMadeAgainAndNothingIsDropped(t *testing.T) {
	for name, lose := range lost {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				theirs := company(t, "Company CA")
				h, pods, pair := adopted(t, serverSlot, theirs)
				before := slices.DeleteFunc(h.recorded(), func(key string) bool { return !strings.HasSuffix(key, material.AnchorSuffix) })
				lose(h)
				h.onTheWay(pods)
				if got := h.recorded(); !slices.Contains(got, before[0]) {
					t.Errorf("recorded: %v", got)
				}
				if got := serversOf(pods, pair); len(got) != 3 || h.trusted(facts.Server, theirs) != "all" {
					t.Errorf("presented by %v, trusted by %s", got, h.trusted(facts.Server, theirs))
				}
				if got, _ := pki.ParseBundle(h.secret(record).Data[before[0]]); len(got) != 1 || !got[0].Equal(theirs.Certificate) {
					t.Errorf("the record holds %d certificates under %s", len(got), before[0])
				}
			})
		})
	}
}

// The Secret is refused, so that nothing but the record says why its authority is trusted.
func TestWalkALostRecordIsNoReasonToDropWhatIsPresented(t *testing.T) {
	for name, lose := range lost {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				theirs := company(t, "Company CA")
				h, pods, pair := adopted(t, serverSlot, theirs)
				h.put(brought, map[string][]byte{"tls.crt": []byte("x")})
				h.onTheWay(pods)
				lose(h)
				h.onTheWay(pods)
				h.pass(48 * time.Hour)
				h.onTheWay(pods)
				if got := serversOf(pods, pair); len(got) != 3 || h.trusted(facts.Server, theirs) != "all" {
					t.Errorf("presented by %v, trusted by %s", got, h.trusted(facts.Server, theirs))
				}
			})
		})
	}
}

// At whatever moment of an adoption and of its end the record is lost, what is presented is accepted, and it ends the same.
func TestWalkARecordThatIsLostOnTheWayChangesNoOutcome(t *testing.T) {
	// Each is a whole life, and the moments between behave like their neighbours.
	for way, moments := range map[string][]int{"deleted": {0, 1, 2, 4, 7, 10}, "emptied": {1}} {
		for _, n := range moments {
			t.Run(way, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					h, pods := hippos(t)
					theirs := company(t, "Company CA")
					pair := h.bring(serverSlot, theirs)
					h.change(adoption(""))
					h.change(naming(serverSlot, brought))
					// follows what onTheWay does, and loses the record after the nth round.
					rounds := 0
					through := func() {
						for range 60 {
							asked := h.podActions(pods)
							h.everybodyIsAccepted(pods)
							if rounds++; rounds == n+1 && h.stored()[record] != nil {
								lost[way](h)
								continue
							}
							if len(asked) == 0 && len(h.writes) == 0 {
								return
							}
							for _, name := range asked {
								pods[name].install()
							}
						}
						t.Fatalf("did not converge: %v", h.writes)
					}
					for range 3 {
						through()
						h.follow()
					}
					if got := serversOf(pods, pair); len(got) != 3 {
						t.Errorf("presented by %v", got)
					}
					h.change(naming(serverSlot, ""))
					through()
					if got := h.trusted(facts.Server, theirs); got != "none" || len(h.recorded()) > 0 {
						t.Errorf("in the end %s of the bundles hold the authority, recorded is %v", got, h.recorded())
					}
				})
			})
		}
	}
}

func TestWalkAForgottenSoakBeginsAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		theirs := company(t, "Company CA")
		h, pods, _ := adopted(t, serverSlot, theirs)
		h.change(soaking("1h"))
		h.change(naming(serverSlot, ""))
		h.onTheWay(pods)
		h.pass(50 * time.Minute)
		h.delete(h.secret(record))
		h.onTheWay(pods)
		h.pass(50 * time.Minute)
		h.onTheWay(pods)
		if got := h.trusted(facts.Server, theirs); got != "all" {
			t.Errorf("%s of the bundles hold the authority", got)
		}
		h.pass(10 * time.Minute)
		h.onTheWay(pods)
		if got := h.trusted(facts.Server, theirs); got != "none" {
			t.Errorf("%s of the bundles hold the authority", got)
		}
	})
}

// A Secret of another owner is where the record is to be.
func TestWalkAForeignSecretInThePlaceOfTheRecordStopsNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: record}, Data: map[string][]byte{"precious": []byte("yes")}}
		if err := h.client.Create(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		pair := h.bring(serverSlot, company(t, "Company CA"))
		h.change(naming(serverSlot, brought))
		h.onTheWay(pods)
		h.wants(serverSlot.Condition, metav1.ConditionFalse, string(reason.ForeignSecret), "Secret hippo-trust", "rename or delete it", "pgtls's own certificate is presented")
		h.request("monday")
		if order := h.onTheWay(pods); !slices.Equal(order, inOrder) {
			t.Errorf("renewed meanwhile: %v", order)
		}
		if got := h.secret(record); got.ResourceVersion != foreign.ResourceVersion {
			t.Error("the foreign Secret was written to")
		}
		if result, _ := h.reconcile(); result.RequeueAfter > retryMax {
			t.Errorf("no watch tells when it is gone, and it looks again after %s", result.RequeueAfter)
		}
		h.delete(foreign)
		h.onTheWay(pods)
		h.follow()
		h.onTheWay(pods)
		if got := serversOf(pods, pair); len(got) != 3 {
			t.Errorf("it is gone, and the certificate is presented by %v", got)
		}
	})
}

// trusting names keys of a Secret, of a ConfigMap, or of both, in a domain.
func trustCondition(domain facts.Domain) string {
	return map[facts.Domain]string{facts.Server: "AdditionalTrustServer", facts.Client: "AdditionalTrustClient"}[domain]
}

func trusting(domain facts.Domain, sources ...v1beta1.TrustSource) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) {
		adoption("")(c)
		if domain == facts.Server {
			c.Spec.TLS.Server = &v1beta1.ServerTLSSpec{AdditionalTrust: sources}
		} else {
			c.Spec.TLS.Client = &v1beta1.ClientTLSSpec{AdditionalTrust: sources}
		}
	}
}

var (
	inSecret    = v1beta1.TrustSource{Secret: &v1beta1.TrustKey{Name: "partners", Key: "ca.crt"}}
	inConfigMap = v1beta1.TrustSource{ConfigMap: &v1beta1.TrustKey{Name: "bundle", Key: "trust.pem"}}
)

// bundle is a ConfigMap as trust-manager keeps it.
func (h *fixture) bundle(authorities ...*pki.Authority) *corev1.ConfigMap {
	h.t.Helper()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: "bundle"}, Data: map[string]string{}}
	for _, a := range authorities {
		config.Data["trust.pem"] += string(a.EncodeCertificate())
	}
	if err := h.client.Create(h.t.Context(), config); err != nil {
		h.t.Fatal(err)
	}
	return config
}

// The delay for clients begins with the write of the ConfigMap: act notes when that was, and gather reads it.
func TestAWrittenBundleIsObservedWithTheTimeOfItsWrite(t *testing.T) {
	h := aRekey(t, "server")
	h.change(soaking("1h"))
	h.pass(90 * time.Second)
	before := h.clock()
	h.reconcile()
	observed := func() facts.Trust {
		s, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
		if err != nil {
			t.Fatal(err)
		}
		return s.Observed.PublicTrust
	}
	written := observed()
	if written.ChangedAt.Before(before.Truncate(time.Second)) || written.ChangedAt.After(h.clock()) {
		t.Errorf("written at %s, observed as %s", before, written.ChangedAt)
	}
	h.pass(time.Hour / 2)
	h.reconcile()
	if again := observed(); !again.ChangedAt.Equal(written.ChangedAt) || !slices.Equal(again.Anchors, written.Anchors) {
		t.Errorf("nothing was written, and the time is another: %+v, before %+v", again, written)
	}
	config := h.publicConfigMap()
	delete(config.Annotations, material.ChangedAnnotation)
	if err := h.client.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if unknown := observed(); !unknown.ChangedAt.IsZero() {
		t.Errorf("without the note the time is %s", unknown.ChangedAt)
	}
}

func (h *fixture) publicConfigMap() *corev1.ConfigMap {
	h.t.Helper()
	config := &corev1.ConfigMap{}
	if err := h.client.Get(h.t.Context(), h.key("hippo-ca"), config); err != nil {
		h.t.Fatal(err)
	}
	return config
}

func TestWalkWhatTheSpecTrustsBesidesJoinsTheBundlesOfItsDomain(t *testing.T) {
	for _, domain := range facts.Domains() {
		t.Run(string(domain), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods := hippos(t)
				one, two, both := company(t, "One CA"), company(t, "Two CA"), company(t, "Both CA")
				h.put("partners", map[string][]byte{"ca.crt": append(one.EncodeCertificate(), both.EncodeCertificate()...)})
				config := h.bundle(two, both)
				h.change(trusting(domain, inSecret, inConfigMap))
				h.onTheWay(pods)
				other := map[facts.Domain]facts.Domain{facts.Server: facts.Client, facts.Client: facts.Server}[domain]
				for _, a := range []*pki.Authority{one, two, both} {
					if h.trusted(domain, a) != "all" || h.trusted(other, a) != "none" {
						t.Errorf("%s: %s of the bundles, and %s of the other domain's", a.Certificate.Subject, h.trusted(domain, a), h.trusted(other, a))
					}
				}
				h.wants(trustCondition(domain), metav1.ConditionTrue, "Accepted")
				// One is gone: what it held before is held.
				h.delete(config)
				h.onTheWay(pods)
				h.pass(48 * time.Hour)
				h.onTheWay(pods)
				h.wants(trustCondition(domain), metav1.ConditionFalse, string(snapshot.SourceMissing), "ConfigMap bundle", "the previous anchors stay trusted")
				if told := eventsOf(h.events(), string(snapshot.SourceMissing)); len(told) != 1 {
					t.Errorf("events = %q, want one", told)
				}
				if h.trusted(domain, two) != "all" || h.trusted(domain, one) != "all" {
					t.Error("one source is missing, and trust was taken away")
				}
				// The spec names it no longer: what it alone held is dropped.
				h.change(trusting(domain, inSecret))
				h.onTheWay(pods)
				if h.trusted(domain, two) != "none" || h.trusted(domain, one) != "all" || h.trusted(domain, both) != "all" {
					t.Error("what the spec names is to be trusted, and nothing else")
				}
			})
		})
	}
}

func TestWalkASourceOfTrustThatIsRefusedHoldsWhatWasTrusted(t *testing.T) {
	one := company(t, "One CA")
	cases := map[string]struct {
		how    func(h *fixture)
		reason custom.Reason
	}{
		"nonsense":        {reason: custom.NotPEM, how: func(h *fixture) { h.put("partners", map[string][]byte{"ca.crt": []byte("x")}) }},
		"without the key": {reason: snapshot.SourceMissing, how: func(h *fixture) { h.put("partners", map[string][]byte{"other": []byte("x")}) }},
		"the operator's": {reason: snapshot.SourceReserved, how: func(h *fixture) {
			h.change(trusting(facts.Client, v1beta1.TrustSource{ConfigMap: &v1beta1.TrustKey{Name: "hippo-ca", Key: "ca.crt"}}))
		}},
		"named like its own": {reason: snapshot.AnchorReserved, how: func(h *fixture) {
			h.put("partners", map[string][]byte{"ca.crt": company(t, "hippo client ca g2").EncodeCertificate()})
		}},
		"unreadable": {reason: snapshot.SourceUnreadable, how: func(h *fixture) {
			h.reading = func(key client.ObjectKey, _ client.Object) error {
				if key.Name == "partners" {
					return errors.New("the API server is away")
				}
				return nil
			}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, pods := hippos(t)
				h.put("partners", map[string][]byte{"ca.crt": one.EncodeCertificate()})
				h.change(trusting(facts.Client, inSecret))
				h.onTheWay(pods)
				before := h.secret(record).ResourceVersion
				c.how(h)
				h.onTheWay(pods)
				h.pass(48 * time.Hour)
				h.onTheWay(pods)
				h.wants("AdditionalTrustClient", metav1.ConditionFalse, string(c.reason))
				if h.trusted(facts.Client, one) != "all" || h.secret(record).ResourceVersion != before {
					t.Error("what was trusted is to be held, and nothing is to be noted")
				}
				if result, _ := h.reconcile(); c.reason == snapshot.SourceUnreadable && (result.RequeueAfter == 0 || result.RequeueAfter > retryMax) {
					t.Errorf("it looks again after %s", result.RequeueAfter)
				}
			})
		})
	}
}

// A soak that is under way is not begun anew by a source that cannot be read for a moment.
func TestWalkWhatSoaksIsNotAdmittedAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		one, two := company(t, "One CA"), company(t, "Two CA")
		h.put("partners", map[string][]byte{"ca.crt": append(one.EncodeCertificate(), two.EncodeCertificate()...)})
		h.change(trusting(facts.Server, inSecret))
		h.change(func(c *v1beta1.PostgresCluster) { c.Spec.TLS.Rotation = nil }) // 24 hours
		h.onTheWay(pods)
		h.put("partners", map[string][]byte{"ca.crt": one.EncodeCertificate()})
		h.onTheWay(pods)
		before := maps.Clone(h.secret(record).Data)
		h.put("partners", nil)
		h.onTheWay(pods)
		if after := h.secret(record).Data; !maps.EqualFunc(before, after, slices.Equal) {
			t.Errorf("the record is another: %v", tlstest.SortedKeys(after))
		}
		h.pass(15 * 24 * time.Hour)
		h.onTheWay(pods)
		if got := h.trusted(facts.Server, two); got != "all" {
			t.Errorf("it is unknown what the source holds, and %s of the bundles hold what it held", got)
		}
		h.put("partners", map[string][]byte{"ca.crt": one.EncodeCertificate()})
		h.onTheWay(pods)
		if got := h.trusted(facts.Server, two); got != "none" {
			t.Errorf("the soak is over, and %s of the bundles hold it", got)
		}
	})
}

func TestWalkASessionHoldsUpTheEndOfAForeignClientAuthority(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		one := company(t, "One CA")
		h.put("partners", map[string][]byte{"ca.crt": one.EncodeCertificate()})
		h.change(trusting(facts.Client, inSecret))
		h.onTheWay(pods)
		h.sessions = []postgres.Session{{User: "ann", Address: "10.9.9.9", IssuerDN: "/CN=One CA"}}
		h.change(trusting(facts.Client))
		h.onTheWay(pods)
		h.pass(48 * time.Hour)
		h.onTheWay(pods)
		if got := h.trusted(facts.Client, one); got != "all" {
			t.Errorf("ann is connected, and %s of the bundles hold her authority", got)
		}
		blockers := h.cluster().Status.TLS.Blockers
		if !slices.ContainsFunc(blockers, func(b v1beta1.BlockerStatus) bool {
			return b.Reason == string(reason.StillInUse) && strings.Contains(b.Message, "user ann") && strings.Contains(b.Message, "CN=One CA")
		}) {
			t.Errorf("blockers = %+v", blockers)
		}
		h.r.gatherer.Sessions = func(context.Context, postgres.Server) ([]postgres.Session, error) {
			return nil, errors.New("no answer")
		}
		h.reconcile()
		if blockers := h.cluster().Status.TLS.Blockers; len(blockers) == 0 || blockers[0].Reason != string(reason.SessionsUnknown) {
			t.Errorf("blockers = %+v", blockers)
		}
		h.restart()
		h.sessions = []postgres.Session{{User: "ann", Address: "10.9.9.9", IssuerDN: "/CN=hippo client ca g1"}}
		h.onTheWay(pods)
		if got := h.trusted(facts.Client, one); got != "none" || len(h.recorded()) > 0 {
			t.Errorf("she is gone, and %s of the bundles hold her authority", got)
		}
	})
}

func TestWalkACrashDuringAnAdoptionIsMadeGood(t *testing.T) {
	theirs := company(t, "Company CA")
	for _, end := range []bool{false, true} {
		crashes(t, func(t *testing.T, n int) bool {
			h := newFixture(t)
			h.change(adoption(v1beta1.AdoptImmediate))
			if !end {
				h.reconcile()
			}
			pair := h.bring(serverSlot, theirs)
			h.change(naming(serverSlot, brought))
			if end {
				h.reconcile()
				h.change(naming(serverSlot, ""))
			}
			crashed := h.crashAfter(n, func() { h.trustedBeforePresented(theirs) })
			_, err := h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
			if *crashed && !errors.Is(err, errCrash) {
				t.Errorf("err = %v, want the crash", err)
			}
			h.ends()
			h.trustedBeforePresented(theirs)
			want, keys := "all", 2
			if end {
				want, keys = "none", 0
			}
			if got := h.trusted(facts.Server, theirs); got != want || len(h.recorded()) != keys {
				t.Errorf("%s of the bundles hold the authority, recorded is %v", got, h.recorded())
			}
			for _, party := range []string{"hippo-a-0-tls", "hippo-a-1-tls"} {
				if presented := h.served(party, serverSlot, pair); presented == end || !end == h.ownServed(party, serverSlot) {
					t.Errorf("%s presents it: %v", party, presented)
				}
			}
			h.theirsAreUntouched()
			return *crashed
		})
	}
}

// trustedBeforePresented: while the material of some party presents what an authority issued, the record holds it.
func (h *fixture) trustedBeforePresented(a *pki.Authority) {
	h.t.Helper()
	presents := false
	for name, secret := range h.stored() {
		pair, err := pki.ParseKeyPair(secret.Data["served.crt"], secret.Data["served.key"])
		if err != nil || pair.Leaf().CheckSignatureFrom(a.Certificate) != nil {
			continue
		}
		presents = true
		bundle, err := pki.ParseBundle(secret.Data["server-ca.crt"])
		if err != nil || !slices.ContainsFunc(bundle, a.Certificate.Equal) {
			h.t.Errorf("%s presents what it does not trust: %v", name, err)
		}
	}
	if presents && len(h.recorded()) == 0 {
		h.t.Error("what is presented is of an authority without a note")
	}
}
