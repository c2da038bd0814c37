package tls

import (
	gotls "crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/internal/rotation"
)

// byHand is an authority of plain "openssl req -x509"; neither it nor what it issues has what strict verifiers ask for.
type byHand struct {
	*pkitest.Certificate
	now time.Time
}

func newByHand(now time.Time, name string) byHand {
	return byHand{pkitest.CA(name, pkitest.ByHand, pkitest.Valid(now.Add(-time.Hour), now.Add(9000*time.Hour))), now}
}

func (a byHand) issue() *pki.KeyPair {
	leaf := a.Leaf("db", pkitest.Hosts("db"), pkitest.ByHand, pkitest.Valid(a.now.Add(-time.Hour), a.now.Add(900*time.Hour)))
	return &pki.KeyPair{Chain: leaf.Chain(), Key: leaf.Key}
}

func (a byHand) fingerprint() string { return pki.Facts(a.Certificate.Certificate).Fingerprint }

// served is material of the cluster's own, with a certificate by hand that the process serves.
func (g *twoGenerations) served(t *testing.T, pair *pki.KeyPair, anchors ...*x509.Certificate) map[string][]byte {
	t.Helper()
	data := g.material(t)
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	files := processFiles[rotation.Server]
	data[files.certificate], data[files.key] = pair.EncodeChain(), key
	data[bundleFiles[rotation.Server]] = pki.EncodeBundle(append([]*x509.Certificate{g.by.Certificate}, anchors...))
	return data
}

// Own leaves are verified strictly, and anchors by hand beside their own do no harm to them; what such anchors have issued is
// verified as OpenSSL does.
func TestCertificatesByHandAreInspected(t *testing.T) {
	g := newTwoGenerations(t)
	now := g.view.observed.Now
	root := newByHand(now, "root by hand")
	wants := []rotation.LeafWant{{Domain: rotation.Server}}
	m := inspect(&corev1.Secret{Data: g.served(t, root.issue(), root.Certificate.Certificate)}, wants, now)
	if len(m.Leaves) != 1 || m.Leaves[0].Problem != "" {
		t.Errorf("the own leaf beside an anchor by hand: %+v", m.Leaves)
	}
	at := slices.IndexFunc(m.Customs, func(c rotation.Custom) bool { return c.Domain == rotation.Server })
	if at < 0 {
		t.Fatalf("no custom certificate is seen: %+v", m.Customs)
	}
	if c := m.Customs[at]; c.Problem != "" || !slices.Equal(c.Anchors, []string{root.fingerprint()}) || !strings.HasPrefix(c.IssuerKeyID, "name-") {
		t.Errorf("the custom certificate: %+v", c)
	}
	// The same as the cluster's own leaf is refused.
	data := g.served(t, root.issue(), root.Certificate.Certificate)
	files, own := processFiles[rotation.Server], pairFiles[rotation.Server]
	data[own.certificate], data[own.key] = data[files.certificate], data[files.key]
	if m := inspect(&corev1.Secret{Data: data}, wants, now); m.Leaves[0].Problem != string(pki.KeyIdentifierMissing) {
		t.Errorf("as the own leaf: %+v", m.Leaves[0])
	}
}

func TestCertificatesByHandArePublished(t *testing.T) {
	root := newByHand(newTwoGenerations(t).view.observed.Now, "root by hand")
	for name, c := range map[string]struct {
		loaded  []*x509.Certificate // by a pod, besides the cluster's own
		step    rotation.Step
		refused bool
	}{
		"own, who holds both":     {[]*x509.Certificate{root.Certificate.Certificate}, rotation.Step{Party: "db-tls", Reissue: []rotation.Domain{rotation.Server}}, false},
		"by hand, who holds both": {[]*x509.Certificate{root.Certificate.Certificate}, rotation.Step{Party: "db-tls", Adopt: []rotation.Domain{rotation.Server}}, false},
		"by hand, who does not":   {nil, rotation.Step{Party: "db-tls", Adopt: []rotation.Domain{rotation.Server}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newTwoGenerations(t)
			g.view.cluster = &v1beta1.PostgresCluster{}
			g.view.anchor(rotation.Server, root.Certificate.Certificate)
			g.loaded(fingerprints(append(slices.Clone(c.loaded), g.by.Certificate))...)
			_, err := g.view.accepted(c.step, g.served(t, root.issue(), root.Certificate.Certificate))
			if (err != nil) != c.refused {
				t.Errorf("%v", err)
			}
		})
	}
}

// The operator trusts an anchor by hand like any other, and takes what PostgreSQL serves.
func TestTheOperatorConnectsWithWhatIsMadeByHand(t *testing.T) {
	g := newTwoGenerations(t)
	now := g.view.observed.Now
	root, stranger := newByHand(now, "root by hand"), newByHand(now, "stranger")
	anchors, err := pki.ParseBundle(pki.EncodeBundle([]*x509.Certificate{g.by.Certificate, root.Certificate.Certificate}))
	if err != nil {
		t.Fatal(err)
	}
	identity := &evidence.Identity{Anchors: anchors}
	config := identity.Server("10.0.0.1", podHost, func() time.Time { return now }).TLS
	shown := func(a byHand) gotls.ConnectionState {
		return gotls.ConnectionState{PeerCertificates: a.issue().Chain}
	}
	if err := config.VerifyConnection(shown(root)); err != nil {
		t.Error(err)
	}
	if err := config.VerifyConnection(shown(stranger)); pki.ReasonOf(err) != pki.UnknownAuthority {
		t.Errorf("a stranger: %v", err)
	}
}

// An authority that was made anew under its old name would have OpenSSL refuse what is presented as soon as it is trusted.
func TestAnAuthorityMadeAnewUnderItsNameIsRefused(t *testing.T) {
	now := newTwoGenerations(t).view.observed.Now
	root, again, other := newByHand(now, "root by hand"), newByHand(now, "Root by hand"), newByHand(now, "another root")
	for name, c := range map[string]struct {
		brings  byHand
		issuer  byHand // of the certificate in it; as brings, unless it is additional trust
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
			g := newTwoGenerations(t)
			v := g.view
			v.cluster = &v1beta1.PostgresCluster{}
			v.cluster.Name = "hippo"
			v.anchor(rotation.Server, root.Certificate.Certificate).facts.Admitted = true
			secret := &corev1.Secret{Data: g.served(t, root.issue(), root.Certificate.Certificate)}
			v.material = map[string]*corev1.Secret{"hippo-a": secret}
			v.observed.Parties = []rotation.Party{{Name: "hippo-a", Kind: rotation.Instance, Material: inspect(secret, []rotation.LeafWant{{Domain: rotation.Server}}, now)}}
			p := &presented{source: "Secret custom", slot: slots[0], anchors: []*x509.Certificate{c.brings.Certificate.Certificate}}
			if !c.trust {
				p.pair = c.issuer.issue()
			}
			refused := v.unfit(rotation.Server, p)
			if refused != (c.refused != "") {
				t.Fatalf("refused: %v, %v", refused, p.findings)
			}
			if refused && (p.findings[0].Reason != anchorAmbiguous || p.findings[0].Severity != custom.Refuse || !strings.Contains(p.findings[0].Message, c.refused)) {
				t.Errorf("%+v", p.findings)
			}
		})
	}
}

// Two issuers without key identifiers are not one: a person approves each.
func TestIssuersByHandAreToldApart(t *testing.T) {
	now := newTwoGenerations(t).view.observed.Now
	root, other := newByHand(now, "root by hand"), newByHand(now, "another root")
	facts := func(a byHand) rotation.Custom {
		return customOf(rotation.Server, a.issue(), []*x509.Certificate{a.Certificate.Certificate}, now)
	}
	for name, c := range map[string]struct {
		issuer     byHand
		unapproved bool
	}{"a renewal": {root, false}, "another issuer": {other, true}} {
		want := facts(c.issuer)
		want.Unapproved = true
		v := &view{customs: []*presented{{slot: slots[0], facts: &want}}}
		party := rotation.Party{Kind: rotation.Instance, Material: rotation.Material{Customs: []rotation.Custom{facts(root)}}}
		v.wantCustoms(&party)
		if len(party.Customs) != 1 || party.Customs[0].Unapproved != c.unapproved {
			t.Errorf("%s: %+v", name, party.Customs)
		}
	}
}
