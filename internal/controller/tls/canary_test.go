package tls

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// What an authority issues must be seen to be refused before its Secret goes.
func TestACanaryMustBeRefused(t *testing.T) { synctest.Test(t, canaries) }

func canaries(t *testing.T) {
	h, pods := hippos(t)
	v, err := h.r.observe(t.Context(), h.cluster())
	if err != nil {
		t.Fatal(err)
	}
	gone, err := pki.NewAuthority(pki.AuthorityRequest{
		CommonName: "hippo client ca g7", Algorithm: pki.DefaultAlgorithm, NotBefore: h.clock().Add(-time.Hour), NotAfter: h.clock().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := func(a *pki.Authority, domain rotation.Domain) *storedAuthority {
		return &storedAuthority{authority: a, certificate: a.Certificate, facts: rotation.Authority{Domain: domain, Generation: 7, Certificate: pki.Facts(a.Certificate)}}
	}
	violates := func(what string, a *storedAuthority) {
		t.Helper()
		proof, err := h.r.refused(t.Context(), v, a)
		if violation, ok := errors.AsType[*rotation.Violation](err); !ok || violation.Invariant != "UseBeforeRetire" || proof != (refusal{}) {
			t.Errorf("%s: %v, proof %v", what, err, proof)
		}
	}
	for _, domain := range rotation.Domains() {
		violates("the "+string(domain)+" authority that signs", v.authority(rotation.Step{Domain: domain, Generation: 1}))
		if proof, err := h.r.refused(t.Context(), v, stored(gone, domain)); err != nil || proof.keyID == "" {
			t.Errorf("%s: %v, proof %v", domain, err, proof)
		}
	}
	pods["hippo-a-1-0"].lenient = true
	violates("a PostgreSQL that lets in whoever comes", stored(gone, rotation.Client))
	pods["hippo-a-1-0"].lenient, pods["hippo-a-1-0"].mute = false, agenttest.ErrNobodyListens
	if _, err := h.r.refused(t.Context(), v, stored(gone, rotation.Client)); !errors.Is(err, agenttest.ErrNobodyListens) {
		t.Errorf("%v: no answer is no refusal", err)
	}
	step := rotation.Step{Op: rotation.DiscardAuthority, Domain: rotation.Client, Generation: 1}
	if err := h.r.discardAuthority(t.Context(), v, step, refusal{domain: "client", keyID: "another"}); !errors.Is(err, errNotRefused) {
		t.Errorf("%v, wanted %v", err, errNotRefused)
	}
}
