package agent

import (
	"context"
	"testing"
)

func (p *fakeProcess) Recycle(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.anew++
	return p.broken
}

// Pooled connections are made anew when another authority issued the client leaf, and not at every renewal.
func TestConnectionsAreMadeAnewForAnotherAuthority(t *testing.T) {
	k := newKit(t, noon)
	before := k.material(usual()).parsed(t)
	other := &kit{t: t, start: noon, server: k.server, client: authority(t, "hippo client ca g2", noon)}
	rekeyed := other.material(usual()).parsed(t)
	serverRekeyed := &kit{t: t, start: noon, server: authority(t, "hippo server ca g2", noon), client: k.client}
	for _, c := range []struct {
		name       string
		before, to *Material
		want       bool
	}{
		{"the first material", nil, before, false},
		{"a renewal", before, k.material(usual()).parsed(t), false},
		{"another server authority", before, serverRekeyed.material(usual()).parsed(t), false},
		{"another client authority", before, rekeyed, true},
		{"back again", rekeyed, before, true},
	} {
		if got := changesIssuer(c.before, c.to); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
