package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// TestBridgeMatrix is design.md section 4 as a table: what is presented, by which generation, with which bridge,
// against every bundle that a verifier may hold in the course of a re-key.
func TestBridgeMatrix(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	forward, backward := bridgeTo(t, g2, g1), bridgeTo(t, g1, g2)
	older, newer := newServer(t, g1).Leaf(), newServer(t, g2).Leaf()

	bundles := []struct {
		name    string
		anchors []*x509.Certificate
	}{
		{"old only", anchorsOf(g1)},
		{"both", anchorsOf(g1, g2)},
		{"new only", anchorsOf(g2)},
	}
	tests := []struct {
		name  string
		chain []*x509.Certificate
		want  [3]Reason // by bundle
	}{
		{"the old leaf", []*x509.Certificate{older}, [3]Reason{"", "", UnknownAuthority}},
		{"the old leaf, backward bridge", []*x509.Certificate{older, backward}, [3]Reason{"", "", ""}},
		{"the old leaf, forward bridge", []*x509.Certificate{older, forward}, [3]Reason{"", "", UnknownAuthority}},
		{"the new leaf", []*x509.Certificate{newer}, [3]Reason{UnknownAuthority, "", ""}},
		{"the new leaf, forward bridge", []*x509.Certificate{newer, forward}, [3]Reason{"", "", ""}},
		{"the new leaf, backward bridge", []*x509.Certificate{newer, backward}, [3]Reason{UnknownAuthority, "", ""}},
		{"the new leaf, both bridges", []*x509.Certificate{newer, forward, backward}, [3]Reason{"", "", ""}},
		{"the new leaf and its authority", []*x509.Certificate{newer, g2.Certificate}, [3]Reason{UnknownAuthority, "", ""}},
		{"the new leaf, its authority and the bridge", []*x509.Certificate{newer, g2.Certificate, forward}, [3]Reason{UnknownAuthority, "", ""}},
		{"the bridge alone", []*x509.Certificate{forward}, [3]Reason{IsCA, IsCA, IsCA}},
	}
	for _, test := range tests {
		for i, bundle := range bundles {
			t.Run(test.name+", "+bundle.name, func(t *testing.T) {
				wantReason(t, Verify(serverCheck(test.chain, bundle.anchors...)), test.want[i])
			})
		}
	}
}

// TestBridgeLimitsTheChain: what a bridge vouches for ends with the bridge, even when leaf and authority go on.
func TestBridgeLimitsTheChain(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	bridge := bridgeTo(t, g2, g1)
	r := serverRequest(hippo)
	r.NotAfter = bridge.NotAfter.Add(day)
	leaf := must[*KeyPair](t)(g2.Issue(r)).Leaf()

	check := serverCheck([]*x509.Certificate{leaf, bridge}, g1.Certificate)
	check.At = bridge.NotAfter.Add(-time.Second)
	wantReason(t, Verify(check), "")
	check.At = bridge.NotAfter
	wantReason(t, Verify(check), Expired)
	check.Anchors = anchorsOf(g2)
	wantReason(t, Verify(check), "")
}

// TestBridgeWithAnotherIdentifierIsUseless is why the identifier is stored and never computed again: a bridge
// for the same key under another identifier is not the issuer of anything.
func TestBridgeWithAnotherIdentifierIsUseless(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	template := *bridgeTo(t, g2, g1)
	template.SubjectKeyId = []byte("another method")
	bridge := must[*x509.Certificate](t)(sign(&template, g1.Certificate, g2.Key.Public(), g1.Key))
	wantReason(t, Verify(serverCheck(append(newServer(t, g2).Chain, bridge), g1.Certificate)), UnknownAuthority)
}

// TestKeyIdentifierMethod computes the identifier from the bytes: the public key of P-256 is a point of
// 65 octets at the very end of its encoding.
func TestKeyIdentifierMethod(t *testing.T) {
	a := sharedAuthority()
	point := a.Certificate.RawSubjectPublicKeyInfo[len(a.Certificate.RawSubjectPublicKeyInfo)-65:]
	if point[0] != 4 {
		t.Fatalf("no uncompressed point: %x", point)
	}
	sum := sha256.Sum256(point)
	if !bytes.Equal(a.Certificate.SubjectKeyId, sum[:20]) {
		t.Errorf("identifier %x, want %x", a.Certificate.SubjectKeyId, sum[:20])
	}
}

func TestKeyIdentifierDependsOnTheKeyAlone(t *testing.T) {
	key := pkitest.ECKey()
	first, again := must[[]byte](t)(keyIdentifier(key.Public())), must[[]byte](t)(keyIdentifier(key.Public()))
	if !bytes.Equal(first, again) || bytes.Equal(first, must[[]byte](t)(keyIdentifier(pkitest.ECKey().Public()))) {
		t.Error("the identifier is not a function of the key, or of nothing else")
	}
	if id, err := keyIdentifier("no key"); err == nil {
		t.Errorf("no key has the identifier %x", id)
	}
}

// TestSignatureDigests: the digest follows the authority's key. SHA-256 or better, and one that SCRAM's
// channel binding knows.
func TestSignatureDigests(t *testing.T) {
	tests := map[Algorithm]x509.SignatureAlgorithm{
		ECDSAP256: x509.ECDSAWithSHA256,
		ECDSAP384: x509.ECDSAWithSHA384,
		RSA2048:   x509.SHA256WithRSA,
		RSA3072:   x509.SHA256WithRSA,
	}
	for authority, want := range tests {
		r := authorityRequest("hippo server ca g1")
		r.Algorithm = authority
		a := must[*Authority](t)(NewAuthority(r))
		for _, leaf := range []Algorithm{ECDSAP256, ECDSAP384} {
			t.Run(fmt.Sprintf("%s under %s", leaf, authority), func(t *testing.T) {
				r := serverRequest(hippo)
				r.Algorithm = leaf
				pair := must[*KeyPair](t)(a.Issue(r))
				if got := pair.Leaf().SignatureAlgorithm; got != want {
					t.Errorf("signed with %s, want %s", got, want)
				}
				if got := Facts(pair.Leaf()).Algorithm; got != leaf {
					t.Errorf("key of the kind %s, want %s", got, leaf)
				}
				wantReason(t, Verify(serverCheck(pair.Chain, a.Certificate)), "")
			})
		}
	}
}

// TestEncodedChainKeepsItsOrder: a server sends the chain as it stands in the file.
func TestEncodedChainKeepsItsOrder(t *testing.T) {
	g1, g2, chain := bridged(t)
	text := (&KeyPair{Chain: chain, Key: g2.Key}).EncodeChain()
	for i, want := range chain {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil || !bytes.Equal(block.Bytes, want.Raw) {
			t.Fatalf("block %d is not certificate %d of the chain", i, i)
		}
	}
	if len(text) > 0 {
		t.Errorf("behind the chain stands %q", text)
	}
	if bundle := EncodeBundle(anchorsOf(g2, g1)); !bytes.HasPrefix(bundle, g2.EncodeCertificate()) {
		t.Error("a bundle does not begin with what was given first: the newest")
	}
}

// TestBridgesToADepthOfTwo: a client that copied the authority before the last but one is still led to leaves of the newest.
func TestBridgesToADepthOfTwo(t *testing.T) {
	needOpenSSL(t)
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	g3, g4 := newAuthority(t, "hippo server ca g3"), newAuthority(t, "hippo server ca g4")
	third := append(newServer(t, g3).Chain, bridgeTo(t, g3, g2), bridgeTo(t, g2, g1))
	for _, holder := range []*Authority{g1, g2, g3} {
		check := serverCheck(third, holder.Certificate)
		wantReason(t, Verify(check), "")
		if err := opensslVerify(t, t.TempDir(), check); err != nil {
			t.Errorf("openssl with %s alone: %v", holder.Certificate.Subject, err)
		}
	}
	fourth := append(newServer(t, g4).Chain, bridgeTo(t, g4, g3), bridgeTo(t, g3, g2), bridgeTo(t, g2, g1))
	wantReason(t, Verify(serverCheck(fourth, g1.Certificate)), ChainRefused)
	wantReason(t, Verify(serverCheck(fourth, g2.Certificate)), "")
}

func TestBridgeIsRefused(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	namesake := newAuthority(t, "hippo server ca g1")
	tests := map[string]struct {
		subject *x509.Certificate
		from    time.Time
		want    Reason
	}{
		"to another authority":           {g2.Certificate, epoch, ""},
		"to itself":                      {g1.Certificate, epoch, NotSelfSigned},
		"to another one of its own name": {namesake.Certificate, epoch, NotSelfSigned},
		"to a leaf":                      {newServer(t, g2).Leaf(), epoch, NotCA},
		"to a bridge":                    {bridgeTo(t, g2, namesake), epoch, NotSelfSigned},
		"for no time":                    {g2.Certificate, epoch.Add(year), ValidityMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := g1.Bridge(BridgeRequest{Subject: test.subject, NotBefore: test.from, NotAfter: epoch.Add(year)})
			wantReason(t, err, test.want)
		})
	}
}

// TestBridgeEndsWithBothAuthorities: what it vouches for would be refused later anyway, and a verifier may look at its end alone.
func TestBridgeEndsWithBothAuthorities(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	bridge := must[*x509.Certificate](t)(g1.Bridge(BridgeRequest{Subject: g2.Certificate, NotBefore: epoch.Add(-50 * year), NotAfter: epoch.Add(50 * year)}))
	if !bridge.NotAfter.Equal(g1.Certificate.NotAfter) || !bridge.NotBefore.Equal(g1.Certificate.NotBefore) {
		t.Errorf("valid from %s to %s, its authority from %s to %s", bridge.NotBefore, bridge.NotAfter, g1.Certificate.NotBefore, g1.Certificate.NotAfter)
	}
	if !bytes.Equal(bridge.SubjectKeyId, g2.Certificate.SubjectKeyId) || !bytes.Equal(bridge.AuthorityKeyId, g1.Certificate.SubjectKeyId) {
		t.Error("the identifiers are not those of the two authorities")
	}
}
