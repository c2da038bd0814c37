package tls

import (
	"testing"

	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestAGenerationInUseIsKnownFromMaterialOfNoParty(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	cluster := h.cluster()
	cluster.Spec.Proxy = nil
	if err := h.client.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-operator-tls"} {
		h.delete(h.secret(name))
	}
	v, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
	if err != nil {
		t.Fatal(err)
	}
	for _, domain := range facts.Domains() {
		if v.Observed.GenerationSeen[domain] != 1 {
			t.Errorf("the pooler's material names generation 1 of the %s authority, and it is not seen", domain)
		}
	}
}
