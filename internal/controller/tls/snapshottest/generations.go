package snapshottest

import (
	"crypto/x509"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// TwoGenerations is a view of a cluster whose server domain has two authorities, and a leaf of the second.
type TwoGenerations struct {
	Snapshot *snapshot.Snapshot
	Old, By  *pki.Authority
	Bridge   *x509.Certificate
}

func NewTwoGenerations(t *testing.T) *TwoGenerations {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g := &TwoGenerations{Snapshot: &snapshot.Snapshot{}}
	g.Snapshot.Observed.Now = now
	g.Snapshot.Observed.Parties = []facts.Party{{Name: "db-tls", Kind: party.Instance}} // that Material is for
	for n, at := range []**pki.Authority{&g.Old, &g.By} {
		a, err := pki.NewAuthority(pki.AuthorityRequest{
			CommonName: material.AuthorityCommonName("hippo", facts.Server, string(rune('1'+n))), Algorithm: pki.DefaultAlgorithm,
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		*at = a
		g.Snapshot.Authorities = append(g.Snapshot.Authorities, &snapshot.StoredAuthority{Authority: a, Certificate: a.Certificate, Facts: facts.Authority{
			Domain: facts.Server, Generation: n + 1, Certificate: pki.Facts(a.Certificate),
		}})
	}
	var err error
	g.Bridge, err = g.Old.Bridge(pki.BridgeRequest{Subject: g.By.Certificate, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *TwoGenerations) Loaded(fingerprints ...string) {
	g.Snapshot.Observed.Parties = append(g.Snapshot.Observed.Parties, facts.Party{Kind: party.Instance, Pods: []facts.Pod{
		{Report: &facts.Report{Loaded: facts.Bundles{Server: fingerprints}}},
	}})
}

func (g *TwoGenerations) Material(t *testing.T, chain ...*x509.Certificate) map[string][]byte {
	t.Helper()
	pair, err := g.By.Issue(pki.LeafRequest{
		CommonName: "db", DNSNames: []string{"db"}, Usage: pki.ServerAuth, Algorithm: pki.DefaultAlgorithm,
		NotBefore: g.Snapshot.Observed.Now.Add(-time.Minute), NotAfter: g.Snapshot.Observed.Now.Add(time.Hour),
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

// Served is material of the cluster's own, with a certificate by hand that the process serves.
func (g *TwoGenerations) Served(t *testing.T, pair *pki.KeyPair, anchors ...*x509.Certificate) map[string][]byte {
	t.Helper()
	data := g.Material(t)
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	files := party.Mounted.Process(facts.Server)
	data[files.Certificate], data[files.Key] = pair.EncodeChain(), key
	data[party.Mounted.Bundle(facts.Server)] = pki.EncodeBundle(append([]*x509.Certificate{g.By.Certificate}, anchors...))
	return data
}
