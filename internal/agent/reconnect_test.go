package agent

import (
	"context"
	"errors"
	"testing"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

func (p *fakeProcess) Reconnect(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.anew++
	return p.broken
}

// Pooled connections are made anew when another authority issued the client leaf, and not at every renewal.
func TestConnectionsAreMadeAnewForAnotherAuthority(t *testing.T) {
	k := newKit(t, noon)
	before := k.material(usual()).parsed(t)
	renewed := k.material(usual()).parsed(t)
	other := &kit{t: t, start: noon, server: k.server, client: authority(t, "hippo client ca g2", noon)}
	rekeyed := other.material(usual()).parsed(t)
	serverRekeyed := &kit{t: t, start: noon, server: authority(t, "hippo server ca g2", noon), client: k.client}
	for _, c := range []struct {
		name       string
		before, to *Material
		want       int
	}{
		{"the first material", nil, before, 0},
		{"a renewal", before, renewed, 0},
		{"another server authority", before, serverRekeyed.material(usual()).parsed(t), 0},
		{"another client authority", before, rekeyed, 1},
		{"back again", rekeyed, before, 1},
	} {
		process := &fakeProcess{}
		if problem := reconnect(t.Context(), process, c.before, c.to); problem != nil || process.anew != c.want {
			t.Errorf("%s: %d times, wanted %d (%+v)", c.name, process.anew, c.want, problem)
		}
	}
	process := &fakeProcess{broken: errors.New("no")}
	if problem := reconnect(t.Context(), process, before, rekeyed); problem == nil || problem.Reason != agentapi.ReloadFailed {
		t.Errorf("%+v, wanted %s", problem, agentapi.ReloadFailed)
	}
	if pki.Facts(before.Client.Leaf()).IssuerKeyID == pki.Facts(rekeyed.Client.Leaf()).IssuerKeyID {
		t.Error("both authorities have one key: this test shows nothing")
	}
}
