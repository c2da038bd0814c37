package tls

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// twoGenerations is a view of a cluster whose server domain has two authorities, and a leaf of the second.
type twoGenerations struct {
	view    *view
	old, by *pki.Authority
	bridge  *x509.Certificate
}

func newTwoGenerations(t *testing.T) *twoGenerations {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g := &twoGenerations{view: &view{}}
	g.view.observed.Now = now
	for n, at := range []**pki.Authority{&g.old, &g.by} {
		a, err := pki.NewAuthority(pki.AuthorityRequest{
			CommonName: authorityCommonName("hippo", rotation.Server, string(rune('1'+n))), Algorithm: pki.DefaultAlgorithm,
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		*at = a
		g.view.authorities = append(g.view.authorities, &storedAuthority{authority: a, certificate: a.Certificate, facts: rotation.Authority{
			Domain: rotation.Server, Generation: n + 1, Certificate: pki.Facts(a.Certificate),
		}})
	}
	var err error
	g.bridge, err = g.old.Bridge(pki.BridgeRequest{Subject: g.by.Certificate, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *twoGenerations) loaded(fingerprints ...string) {
	g.view.observed.Parties = append(g.view.observed.Parties, rotation.Party{Pods: []rotation.Pod{
		{Report: &rotation.Report{Loaded: rotation.Bundles{Server: fingerprints}}},
	}})
}

func (g *twoGenerations) material(t *testing.T, chain ...*x509.Certificate) map[string][]byte {
	t.Helper()
	pair, err := g.by.Issue(pki.LeafRequest{
		CommonName: "db", DNSNames: []string{"db"}, Usage: pki.ServerAuth, Algorithm: pki.DefaultAlgorithm,
		NotBefore: g.view.observed.Now.Add(-time.Minute), NotAfter: g.view.observed.Now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	pair.Chain = append(pair.Chain, chain...)
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"server.crt": pair.EncodeChain(), "server.key": key}
}

func TestNothingIsPublishedThatSomebodyRefuses(t *testing.T) {
	step := rotation.Step{Op: rotation.Publish, Party: "db-tls", Reissue: []rotation.Domain{rotation.Server}}
	for _, c := range []struct {
		name    string
		given   func(*testing.T, *twoGenerations) map[string][]byte
		refused string // "" when it may be published
	}{
		{"nobody has loaded anything", func(t *testing.T, g *twoGenerations) map[string][]byte { return g.material(t) }, ""},
		{"everybody holds both", func(t *testing.T, g *twoGenerations) map[string][]byte {
			g.loaded(fingerprints([]*x509.Certificate{g.old.Certificate, g.by.Certificate})...)
			return g.material(t)
		}, ""},
		{"a pod holds the old one alone, without bridge", func(t *testing.T, g *twoGenerations) map[string][]byte {
			g.loaded(fingerprints([]*x509.Certificate{g.old.Certificate})...)
			return g.material(t)
		}, "whoever holds CN=hippo server ca g1 would refuse the new server leaf of db-tls"},
		{"a pod holds the old one alone, and the bridge leads there", func(t *testing.T, g *twoGenerations) map[string][]byte {
			g.loaded(fingerprints([]*x509.Certificate{g.old.Certificate})...)
			return g.material(t, g.bridge)
		}, ""},
		{"the ConfigMap holds the old one alone", func(t *testing.T, g *twoGenerations) map[string][]byte {
			g.view.observed.PublicTrust.Anchors = fingerprints([]*x509.Certificate{g.old.Certificate})
			return g.material(t)
		}, "would refuse"},
		{"a pod trusts strangers alone: it accepts nobody as it is", func(t *testing.T, g *twoGenerations) map[string][]byte {
			g.loaded("stranger")
			return g.material(t)
		}, ""},
		{"a key of another leaf", func(t *testing.T, g *twoGenerations) map[string][]byte {
			data := g.material(t)
			data["server.key"] = g.material(t)["server.key"]
			return data
		}, "cannot be used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newTwoGenerations(t)
			data := c.given(t, g)
			proof, err := g.view.accepted(step, data)
			violation, _ := errors.AsType[*rotation.Violation](err)
			switch {
			case c.refused == "" && (err != nil || proof.revision != pki.Revision(data)):
				t.Errorf("refused: %v", err)
			case c.refused != "" && (violation == nil || violation.Invariant != "MutualTrust" || !strings.Contains(violation.Message, c.refused)):
				t.Errorf("%v, wanted MutualTrust: %s", err, c.refused)
			}
		})
	}
}

// Storing wants the proof about these very bytes.
func TestMaterialIsStoredOnlyWithItsProof(t *testing.T) {
	h := newHouse(t)
	h.reconcile()
	v, err := h.r.observe(t.Context(), h.cluster())
	if err != nil {
		t.Fatal(err)
	}
	secret := h.secret("hippo-a-0-tls").DeepCopy()
	if err := h.r.store(t.Context(), v, secret, acceptance{revision: "another"}); !errors.Is(err, errUnproven) {
		t.Errorf("%v, wanted %v", err, errUnproven)
	}
	if err := h.r.store(t.Context(), v, secret, acceptance{revision: pki.Revision(secret.Data)}); err != nil {
		t.Error(err)
	}
}
