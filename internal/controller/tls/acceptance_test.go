package tls

import (
	"errors"
	"testing"

	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/pki"
)

// Storing wants the proof about these very bytes.
func TestMaterialIsStoredOnlyWithItsProof(t *testing.T) {
	h := newHouse(t)
	h.reconcile()
	v, err := gather.observe(t.Context(), h.cluster())
	if err != nil {
		t.Fatal(err)
	}
	secret := h.secret("hippo-a-0-tls").DeepCopy()
	if err := act.Store(t.Context(), v, secret, act.Acceptance{Revision: "another"}); !errors.Is(err, act.ErrUnproven) {
		t.Errorf("%v, wanted %v", err, act.ErrUnproven)
	}
	if err := act.Store(t.Context(), v, secret, act.Acceptance{Revision: pki.Revision(secret.Data)}); err != nil {
		t.Error(err)
	}
}
