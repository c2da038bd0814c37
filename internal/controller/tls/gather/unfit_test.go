package gather

import (
	"crypto/x509"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/snapshottest"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// An authority that was made anew under its old name would have OpenSSL refuse what is presented as soon as it is trusted.
func TestAnAuthorityMadeAnewUnderItsNameIsRefused(t *testing.T) {
	now := snapshottest.NewTwoGenerations(t).Snapshot.Observed.Now
	root, again, other := tlstest.NewByHand(t, now, "root by hand"), tlstest.NewByHand(t, now, "Root by hand"), tlstest.NewByHand(t, now, "another root")
	for name, c := range map[string]struct {
		brings  tlstest.ByHand
		issuer  tlstest.ByHand // of the certificate in it; as brings, unless it is additional trust
		trust   bool
		refused string
	}{
		"the same":                       {brings: root, issuer: root},
		"another name":                   {brings: other, issuer: other},
		"made anew":                      {brings: again, issuer: again, refused: "verifiers would refuse the certificate in it"},
		"made anew, as additional trust": {brings: again, trust: true, refused: "verifiers would refuse the certificate of hippo-a"},
		"another, as additional trust":   {brings: other, trust: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := snapshottest.NewTwoGenerations(t)
			v := &look{Snapshot: g.Snapshot}
			v.Cluster = &v1beta1.PostgresCluster{}
			v.Cluster.Name = "hippo"
			anchorOf(v, facts.Server, root.Certificate).Facts.Admitted = true
			secret := &corev1.Secret{Data: g.Served(t, root.Issue(x509.ExtKeyUsageServerAuth), root.Certificate)}
			v.Material = map[string]*corev1.Secret{"hippo-a": secret}
			instance := facts.Party{Name: "hippo-a", Kind: party.Instance, Wants: []facts.LeafWant{{Domain: facts.Server}}}
			instance.Material = material.Inspect(&instance, secret, now)
			v.Observed.Parties = []facts.Party{instance}
			p := &snapshot.Presented{Source: "Secret custom", Slot: wanted.Slots()[0], Anchors: []*x509.Certificate{c.brings.Certificate}}
			if !c.trust {
				p.Pair = c.issuer.Issue(x509.ExtKeyUsageServerAuth)
			}
			refused := unfit(v, facts.Server, p)
			if refused != (c.refused != "") {
				t.Fatalf("refused: %v, %v", refused, p.Findings)
			}
			if refused && (p.Findings[0].Reason != snapshot.AnchorAmbiguous || p.Findings[0].Severity != custom.Refuse || !strings.Contains(p.Findings[0].Message, c.refused)) {
				t.Errorf("%+v", p.Findings)
			}
		})
	}
}

// Two issuers without key identifiers are not one: a person approves each.
func TestIssuersByHandAreToldApart(t *testing.T) {
	now := snapshottest.NewTwoGenerations(t).Snapshot.Observed.Now
	root, other := tlstest.NewByHand(t, now, "root by hand"), tlstest.NewByHand(t, now, "another root")
	details := func(a tlstest.ByHand) facts.Custom {
		return material.CustomOf(facts.Server, a.Issue(x509.ExtKeyUsageServerAuth), []*x509.Certificate{a.Certificate}, now)
	}
	for name, c := range map[string]struct {
		issuer     tlstest.ByHand
		unapproved bool
	}{"a renewal": {root, false}, "another issuer": {other, true}} {
		want := details(c.issuer)
		want.Unapproved = true
		v := &look{Snapshot: &snapshot.Snapshot{Customs: []*snapshot.Presented{{Slot: wanted.Slots()[0], Facts: &want}}}}
		party := facts.Party{Kind: party.Instance, Material: facts.Material{Customs: []facts.Custom{details(root)}}}
		wantCustoms(v, &party)
		if len(party.Customs) != 1 || party.Customs[0].Unapproved != c.unapproved {
			t.Errorf("%s: %+v", name, party.Customs)
		}
	}
}

// What several sources bring together has to fit into a bundle that pods take.
func TestABundleHasRoomForSoManyFromElsewhere(t *testing.T) {
	v := &look{Snapshot: &snapshot.Snapshot{Cluster: &v1beta1.PostgresCluster{}}}
	bring := func(n int) *snapshot.Presented {
		p := &snapshot.Presented{Source: "ConfigMap roots"}
		for range n {
			p.Anchors = append(p.Anchors, authorityOfACompany(t))
		}
		return p
	}
	admit := func(p *snapshot.Presented) {
		for _, a := range p.Anchors {
			anchorOf(v, facts.Server, a)
		}
	}
	first := bring(maxForeign - 1)
	if crowded(v, facts.Server, first) {
		t.Fatalf("%d are refused: %+v", maxForeign-1, first.Findings)
	}
	admit(first)
	again := &snapshot.Presented{Anchors: append([]*x509.Certificate{}, first.Anchors...)}
	if crowded(v, facts.Server, again) {
		t.Error("those that are there already take no more room")
	}
	if two := bring(2); !crowded(v, facts.Server, two) || two.Findings[0].Reason != custom.TooLarge || two.Findings[0].Severity != custom.Refuse {
		t.Errorf("one too many is taken: %+v", two.Findings)
	}
	if crowded(v, facts.Client, bring(2)) {
		t.Error("the other domain has a bundle of its own")
	}
	if one := bring(1); crowded(v, facts.Server, one) {
		t.Errorf("the last one is refused: %+v", one.Findings)
	}
}
