package tls

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// annotate changes the cluster as a user does with kubectl.
func (h *fixture) annotate(key, value string) {
	h.t.Helper()
	h.change(func(c *v1beta1.PostgresCluster) { metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, value) })
}

func (h *fixture) change(how func(*v1beta1.PostgresCluster)) {
	h.t.Helper()
	cluster := h.cluster()
	how(cluster)
	if err := h.client.Update(h.t.Context(), cluster); err != nil {
		h.t.Fatal(err)
	}
}

func soaking(d v1beta1.SoakDuration) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) {
		c.Spec.TLS = &v1beta1.TLSSpec{Rotation: &v1beta1.RotationSpec{RetireSoak: ptr.To(d)}}
	}
}

// aRekey is a cluster in which a new authority was asked for.
func aRekey(t *testing.T, domain string) *fixture {
	t.Helper()
	h := newFixture(t)
	h.reconcile()
	h.change(soaking("0s"))
	h.annotate(material.RotateRequestAnnotation, domain+":1")
	return h
}

// TestWalkACrashDuringARekeyIsMadeGood: after whichever write the operator dies, it ends the same, and no generation ever has a second key.
func TestWalkACrashDuringARekeyIsMadeGood(t *testing.T) {
	for _, domain := range []string{"server", "client"} {
		t.Run(domain, func(t *testing.T) {
			crashes(t, func(t *testing.T, n int) bool {
				h := aRekey(t, domain)
				name := "hippo-" + domain + "-ca-g2"
				var key []byte
				crashed := h.crashAfter(n, func() {
					if secret := h.stored()[name]; secret != nil {
						key = secret.Data[material.AuthorityKey]
					}
				})
				_, err := h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
				if *crashed && !errors.Is(err, errCrash) {
					t.Errorf("err = %v, want the crash", err)
				}
				h.ends()
				after := h.stored()
				if after[name] == nil || after["hippo-"+domain+"-ca-g1"] != nil {
					t.Fatalf("Secrets = %v", tlstest.SortedKeys(after))
				}
				if key != nil && !bytes.Equal(key, after[name].Data[material.AuthorityKey]) {
					t.Error("the generation has a second key")
				}
				for secret, issuer := range issuersOf(t, after, domain) {
					if issuer != "CN=hippo "+domain+" ca g2" {
						t.Errorf("the leaf of %s is of %s", secret, issuer)
					}
				}
				return *crashed
			})
		})
	}
}

// issuersOf are the issuers of a domain's leaves by Secret.
func issuersOf(t *testing.T, secrets map[string]*corev1.Secret, domain string) map[string]string {
	t.Helper()
	issuers := map[string]string{}
	for name, secret := range secrets {
		if text := secret.Data[domain+".crt"]; len(text) > 0 {
			pair, err := pki.ParseKeyPair(text, secret.Data[domain+".key"])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			issuers[name] = pki.Facts(pair.Leaf()).Issuer
		}
	}
	if len(issuers) < 3 {
		t.Errorf("only %d leaves", len(issuers))
	}
	return issuers
}

// TestWhoHoldsTheOldAuthorityIsLedToTheNew: with what stands in the Secrets, by all that a verifier may hold.
func TestWhoHoldsTheOldAuthorityIsLedToTheNew(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	var anchors [][]byte
	for generation := 1; ; generation++ {
		h.change(soaking("0s"))
		anchors = append(anchors, h.secret("hippo-a-0-tls").Data[agentapi.ServerBundle])
		secret := h.secret("hippo-a-0-tls")
		pair, err := pki.ParseKeyPair(secret.Data[agentapi.ServerCertificate], secret.Data[agentapi.ServerKey])
		if err != nil {
			t.Fatal(err)
		}
		for i, bundle := range anchors {
			held, err := pki.ParseBundle(bundle)
			if err != nil {
				t.Fatal(err)
			}
			err = pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: h.clock(), Usage: pki.ServerAuth})
			if reached := generation-1-i <= 2; reached != (err == nil) {
				t.Errorf("a client that holds g%d meets a leaf of g%d: %v", i+1, generation, err)
			}
		}
		if generation == 4 {
			return
		}
		h.annotate(material.RotateRequestAnnotation, "server:"+strings.Repeat("x", generation))
		h.reconcile()
	}
}

func TestASoakIsToldAndIsNoFault(t *testing.T) {
	h := aRekey(t, "server")
	h.change(soaking("1h"))
	result, _ := h.reconcile()
	tls := h.cluster().Status.TLS
	want := []v1beta1.RekeyStatus{{Domain: "server", Phase: "Soaking", From: "server-g1", To: "server-g2"}}
	if diff := cmp.Diff(want, tls.Rekeys); diff != "" {
		t.Errorf("rekeys (-want +got):\n%s", diff)
	}
	if tls.State != "NotServing" || len(tls.Blockers) != 1 || tls.Blockers[0].Reason != "AwaitingSoak" {
		t.Errorf("%s, waiting for %+v", tls.State, tls.Blockers)
	}
	if result.RequeueAfter < 59*time.Minute || result.RequeueAfter > time.Hour {
		t.Errorf("looks again after %s, and the soak ends in an hour", result.RequeueAfter)
	}
	signs := map[string]bool{}
	for _, a := range tls.Authorities {
		signs[a.Name] = a.Active
	}
	if diff := cmp.Diff(map[string]bool{"client-g1": true, "server-g1": false, "server-g2": true}, signs); diff != "" {
		t.Errorf("active authorities (-want +got):\n%s", diff)
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("wrote %q while it soaks", writes)
	}
	h.pass(time.Hour)
	h.reconcile()
	if h.stored()["hippo-server-ca-g1"] != nil {
		t.Error("the old authority is still there after the soak")
	}
}

// TestARollBackIsNotTriedAgain: and the number of what was rolled back is not used again, when its Secret is long gone.
func TestARollBackIsNotTriedAgain(t *testing.T) {
	h := aRekey(t, "server")
	h.change(soaking("1h"))
	h.reconcile()
	h.annotate(material.RollbackAnnotation, "server:1")
	h.reconcile()
	if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
		t.Errorf("Secrets = %v, want %v", got, allSecrets)
	}
	if !slices.ContainsFunc(h.events(), func(e string) bool { return strings.Contains(e, "RolledBack") && strings.Contains(e, "Warning") }) {
		t.Error("no event tells of it")
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("wrote %q after it", writes)
	}
	h.annotate(material.RotateRequestAnnotation, "server:2")
	h.reconcile()
	if stored := h.stored(); stored["hippo-server-ca-g3"] == nil || stored["hippo-server-ca-g2"] != nil {
		t.Errorf("Secrets = %v, want g3 next", tlstest.SortedKeys(stored))
	}
}

func TestATaintedAuthorityGoesWithoutBridgeAndSoak(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	old := h.secret("hippo-a-0-tls").Data[agentapi.ServerBundle]
	h.annotate(material.TaintAnnotation, "server-g1")
	h.reconcile()
	stored := h.stored()
	if stored["hippo-server-ca-g1"] != nil || stored["hippo-server-ca-g2"] == nil {
		t.Fatalf("Secrets = %v", tlstest.SortedKeys(stored))
	}
	if stored["hippo-server-ca-g2"].Data[material.ForwardBridge] != nil {
		t.Error("the tainted authority vouches for its successor")
	}
	pair, err := pki.ParseKeyPair(stored["hippo-a-0-tls"].Data[agentapi.ServerCertificate], stored["hippo-a-0-tls"].Data[agentapi.ServerKey])
	if err != nil {
		t.Fatal(err)
	}
	held, err := pki.ParseBundle(old)
	if err != nil {
		t.Fatal(err)
	}
	err = pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: h.clock(), Usage: pki.ServerAuth})
	if pki.ReasonOf(err) != pki.UnknownAuthority {
		t.Errorf("a client that trusts the tainted authority meets the new leaf: %v", err)
	}
}

// lose deletes both Secrets of an authority while no operator runs.
func (h *fixture) lose(name string) {
	h.t.Helper()
	for _, name := range []string{name, name + material.CopySuffix} {
		if h.stored()[name] != nil {
			h.delete(h.secret(name))
		}
	}
	h.restart()
}

// TestWalkALostAuthorityIsTrustedUntilItIsDropped: the last leaf of it was published anew, and its pod serves the old one until it
// has been asked. The exploration of internal/rotation found it: the bundles went first.
func TestWalkALostAuthorityIsTrustedUntilItIsDropped(t *testing.T) {
	moments := 0
	crashes(t, func(t *testing.T, n int) bool {
		h := aRekey(t, "server")
		crashed := h.crashAfter(n, nil)
		_, _ = h.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: tlstest.Hippo})
		h.around = nil
		h.restart()
		before := h.stored()
		if before["hippo-server-ca-g1"] == nil || before["hippo-server-ca-g2"] == nil || before["hippo-server-ca-g2"].Annotations[material.RetiredAnnotation] != "" {
			return *crashed
		}
		h.lose("hippo-server-ca-g1")
		v, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
		if err != nil {
			t.Fatal(err)
		}
		if a := v.Authority(facts.Server, 1); a == nil || a.Facts.Problem != reason.AuthorityLost {
			t.Errorf("g1 is forgotten: %+v", a)
		}
		issuers := slices.Collect(maps.Values(issuersOf(t, before, "server")))
		if !slices.Contains(issuers, "CN=hippo server ca g1") {
			moments++
		}
		return *crashed
	})
	if moments == 0 {
		t.Error("at no moment was every leaf the new authority's and the old one not dropped: this test shows nothing")
	}
}

// What is one letter off is named, with what may stand there, and goes when it is mended.
func TestARequestThatIsNotUnderstoodIsNamed(t *testing.T) {
	for annotation, value := range map[string]string{
		material.TaintAnnotation: "g1", material.RotateRequestAnnotation: "2026-11-27", material.RollbackAnnotation: "x",
		material.RetireApprovedAnnotation: "server:g1", "pgtls.dev/taints": "server-g1",
	} {
		t.Run(annotation, func(t *testing.T) {
			h := newFixture(t)
			h.reconcile()
			h.events()
			h.annotate(annotation, value)
			h.reconcile()
			h.wants("RequestsValid", metav1.ConditionFalse, "RequestInvalid", annotation, value, "write ")
			if told := eventsOf(h.events(), "RequestInvalid"); len(told) != 1 {
				t.Errorf("events = %v", told)
			}
			if got := tlstest.SortedKeys(h.stored()); !slices.Equal(got, allSecrets) {
				t.Errorf("Secrets = %v", got)
			}
			if _, writes := h.reconcile(); len(writes) > 0 || len(h.events()) > 0 {
				t.Errorf("then there were writes: %v", writes)
			}
			h.annotate(annotation, "")
			h.change(func(c *v1beta1.PostgresCluster) { delete(c.Annotations, annotation) })
			h.reconcile()
			if c := h.conditionOf("RequestsValid"); c.Type != "" {
				t.Errorf("the condition stays: %+v", c)
			}
		})
	}
}

// stale takes what a second operator decides, which has observed the cluster before the first one acted.
func (h *fixture) stale(s *snapshot.Snapshot, step plan.Step) error {
	h.t.Helper()
	return h.r.executor.Begin(s).Take(h.t.Context(), step)
}

// Two operators that decide on different facts: what the first one wrote, the second one does not overwrite.
func TestAStalledOperatorWritesNothingOld(t *testing.T) {
	h := aRekey(t, "server")
	before, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
	if err != nil {
		t.Fatal(err)
	}
	h.change(soaking("1h"))
	h.reconcile()
	bundle := h.public()
	old := before.Observed.PublicTrust.Anchors
	// The invariants of the second operator see what it observed: they do not help.
	if err := h.stale(before, plan.PublishTrust{Anchors: old, Reason: reason.TrustChanged}); !apierrors.IsConflict(err) {
		t.Errorf("an old bundle: %v", err)
	}
	if h.public() != bundle {
		t.Error("the old bundle was written")
	}
	late, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
	if err != nil {
		t.Fatal(err)
	}
	h.annotate(material.RollbackAnnotation, "server:1")
	// One operator rolls back while the other drops: both are noted on g2.
	rollBack := plan.RollBack{Domain: facts.Server, Generation: 2, To: 1, Reason: reason.RolledBack}
	if err := h.stale(late, rollBack); err != nil {
		t.Fatal(err)
	}
	if err := h.stale(late, plan.DropOld{Domain: facts.Server, Generation: 1, Active: 2, Reason: reason.Unused}); !apierrors.IsConflict(err) {
		t.Errorf("it is dropped after it was rolled back to: %v", err)
	}
}
