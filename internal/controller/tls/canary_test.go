package tls

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/evidence/agenttest"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// What an authority issues must be seen to be refused before its Secret goes.
func TestACanaryMustBeRefused(t *testing.T) { synctest.Test(t, canaries) }

func canaries(t *testing.T) {
	h, pods := hippos(t)
	v, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
	if err != nil {
		t.Fatal(err)
	}
	round := h.r.executor.Begin(v)
	gone, err := pki.NewAuthority(pki.AuthorityRequest{
		CommonName: "hippo client ca g7", Algorithm: pki.DefaultAlgorithm, NotBefore: h.clock().Add(-time.Hour), NotAfter: h.clock().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := func(a *pki.Authority, domain facts.Domain) *snapshot.StoredAuthority {
		return &snapshot.StoredAuthority{Authority: a, Certificate: a.Certificate, Facts: facts.Authority{Domain: domain, Generation: 7, Certificate: pki.Facts(a.Certificate)}}
	}
	violates := func(what string, a *snapshot.StoredAuthority) {
		t.Helper()
		proof, err := round.Refused(t.Context(), a)
		if violation, ok := errors.AsType[*invariant.Violation](err); !ok || violation.Invariant != "UseBeforeRetire" || proof != (act.Refusal{}) {
			t.Errorf("%s: %v, proof %v", what, err, proof)
		}
	}
	for _, domain := range facts.Domains() {
		violates("the "+string(domain)+" authority that signs", v.Authority(domain, 1))
		if proof, err := round.Refused(t.Context(), stored(gone, domain)); err != nil || proof == (act.Refusal{}) {
			t.Errorf("%s: %v, proof %v", domain, err, proof)
		}
	}
	pods["hippo-a-1-0"].lenient = true
	violates("a PostgreSQL that lets in every client", stored(gone, facts.Client))
	pods["hippo-a-1-0"].lenient, pods["hippo-a-1-0"].mute = false, agenttest.ErrNobodyListens
	if _, err := round.Refused(t.Context(), stored(gone, facts.Client)); !errors.Is(err, agenttest.ErrNobodyListens) {
		t.Errorf("%v: no answer is no refusal", err)
	}
	step := plan.DiscardAuthority{Domain: facts.Client, Generation: 1}
	if err := round.DiscardAuthority(t.Context(), step, act.Refusal{}); !errors.Is(err, act.ErrNotRefused) {
		t.Errorf("%v, wanted %v", err, act.ErrNotRefused)
	}
}
