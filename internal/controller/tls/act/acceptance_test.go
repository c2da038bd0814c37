package act

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshottest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

func TestNothingIsPublishedThatAProcessRefuses(t *testing.T) {
	step := plan.Publish{Party: "db-tls", Reissue: []facts.Domain{facts.Server}}
	for _, c := range []struct {
		name    string
		given   func(*testing.T, *snapshottest.TwoGenerations) map[string][]byte
		refused string // "" when it may be published
	}{
		{"no pod has loaded anything", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte { return g.Material(t) }, ""},
		{"everybody holds both", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte {
			g.Loaded(material.Fingerprints([]*x509.Certificate{g.Old.Certificate, g.By.Certificate})...)
			return g.Material(t)
		}, ""},
		{"a pod holds the old one alone, without bridge", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte {
			g.Loaded(material.Fingerprints([]*x509.Certificate{g.Old.Certificate})...)
			return g.Material(t)
		}, "a verifier that holds CN=hippo server ca g1 would refuse the new server leaf of db-tls"},
		{"a pod holds the old one alone, and the bridge leads there", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte {
			g.Loaded(material.Fingerprints([]*x509.Certificate{g.Old.Certificate})...)
			return g.Material(t, g.Bridge)
		}, ""},
		{"the ConfigMap holds the old one alone", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte {
			g.Snapshot.Observed.PublicTrust.Anchors = material.Fingerprints([]*x509.Certificate{g.Old.Certificate})
			return g.Material(t)
		}, "would refuse"},
		{"a pod trusts strangers alone: it accepts no certificate as it is", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte {
			g.Loaded("stranger")
			return g.Material(t)
		}, ""},
		{"a key of another leaf", func(t *testing.T, g *snapshottest.TwoGenerations) map[string][]byte {
			data := g.Material(t)
			data["server.key"] = g.Material(t)["server.key"]
			return data
		}, "cannot be used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := snapshottest.NewTwoGenerations(t)
			data := c.given(t, g)
			proof, err := accepted(&(&Executor{}).Begin(g.Snapshot).round, step, data)
			violation, _ := errors.AsType[*invariant.Violation](err)
			switch {
			case c.refused == "" && (err != nil || proof.revision != pki.Revision(data)):
				t.Errorf("refused: %v", err)
			case c.refused != "" && (violation == nil || violation.Invariant != "MutualTrust" || !strings.Contains(violation.Message, c.refused)):
				t.Errorf("%v, wanted MutualTrust: %s", err, c.refused)
			}
		})
	}
}
