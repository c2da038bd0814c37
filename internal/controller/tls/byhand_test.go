package tls

import (
	gotls "crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshottest"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Own leaves are verified strictly, and anchors by hand beside their own do no harm to them; what such anchors have issued is
// verified as OpenSSL does.
func TestCertificatesByHandAreInspected(t *testing.T) {
	g := snapshottest.NewTwoGenerations(t)
	now := g.Snapshot.Observed.Now
	root := tlstest.NewByHand(t, now, "root by hand")
	of := &facts.Party{Kind: party.Instance, Wants: []facts.LeafWant{{Domain: facts.Server}}}
	m := material.Inspect(of, &corev1.Secret{Data: g.Served(t, root.Issue(x509.ExtKeyUsageServerAuth), root.Certificate)}, now)
	if len(m.Leaves) != 1 || m.Leaves[0].Problem != "" {
		t.Errorf("the own leaf beside an anchor by hand: %+v", m.Leaves)
	}
	at := slices.IndexFunc(m.Customs, func(c facts.Custom) bool { return c.Domain == facts.Server })
	if at < 0 {
		t.Fatalf("no custom certificate is seen: %+v", m.Customs)
	}
	if c := m.Customs[at]; c.Problem != "" || !slices.Equal(c.Anchors, []string{root.Fingerprint()}) || !strings.HasPrefix(c.IssuerKeyID, "name-") {
		t.Errorf("the custom certificate: %+v", c)
	}
	// The same as the cluster's own leaf is refused.
	data := g.Served(t, root.Issue(x509.ExtKeyUsageServerAuth), root.Certificate)
	files, own := party.Mounted.Process(facts.Server), party.Mounted.Leaf(facts.Server)
	data[own.Certificate], data[own.Key] = data[files.Certificate], data[files.Key]
	if m := material.Inspect(of, &corev1.Secret{Data: data}, now); m.Leaves[0].Problem != string(pki.KeyIdentifierMissing) {
		t.Errorf("as the own leaf: %+v", m.Leaves[0])
	}
}

// The operator trusts an anchor by hand like any other, and takes what PostgreSQL serves.
func TestTheOperatorConnectsWithWhatIsMadeByHand(t *testing.T) {
	g := snapshottest.NewTwoGenerations(t)
	now := g.Snapshot.Observed.Now
	root, stranger := tlstest.NewByHand(t, now, "root by hand"), tlstest.NewByHand(t, now, "stranger")
	anchors, err := pki.ParseBundle(pki.EncodeBundle([]*x509.Certificate{g.By.Certificate, root.Certificate}))
	if err != nil {
		t.Fatal(err)
	}
	identity := &evidence.Identity{Anchors: anchors}
	config := identity.Server("10.0.0.1", tlstest.PodHost, func() time.Time { return now }).TLS
	shown := func(a tlstest.ByHand) gotls.ConnectionState {
		return gotls.ConnectionState{PeerCertificates: a.Issue(x509.ExtKeyUsageServerAuth).Chain}
	}
	if err := config.VerifyConnection(shown(root)); err != nil {
		t.Error(err)
	}
	if err := config.VerifyConnection(shown(stranger)); pki.ReasonOf(err) != pki.UnknownAuthority {
		t.Errorf("a stranger: %v", err)
	}
}
