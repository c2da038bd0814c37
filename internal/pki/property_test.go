package pki

import (
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawLeaf draws a request that Issue accepts, from an authority that lives from one hour before epoch for two years.
func drawLeaf(t *rapid.T) LeafRequest {
	start := epoch.Add(-time.Duration(rapid.IntRange(0, 3000).Draw(t, "backdate")) * time.Second)
	r := LeafRequest{
		CommonName: rapid.StringMatching(`[a-z_][a-z0-9_-]{0,40}`).Draw(t, "cn"),
		Usage:      rapid.SampledFrom([]Usage{ServerAuth, ClientAuth}).Draw(t, "usage"),
		Algorithm:  rapid.SampledFrom([]Algorithm{"", ECDSAP256, ECDSAP384}).Draw(t, "algorithm"),
		NotBefore:  start,
		NotAfter:   epoch.Add(time.Duration(rapid.IntRange(1, 700*86400).Draw(t, "life")) * time.Second),
		DNSNames:   rapid.SliceOfN(rapid.StringMatching(`(\*\.)?[a-z]{1,5}\.[a-z]{1,5}`), 1, 4).Draw(t, "names"),
	}
	for _, octet := range rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "addresses") {
		r.IPAddresses = append(r.IPAddresses, netip.AddrFrom4([4]byte{10, 0, 0, octet}))
	}
	return r
}

// TestEveryLeafVerifiesAgainstItsAuthorityAndNothingElse is the promise of the package in one sentence.
func TestEveryLeafVerifiesAgainstItsAuthorityAndNothingElse(t *testing.T) {
	own := newAuthority(t, "hippo server ca g1")
	others := map[string]*x509.Certificate{
		"the next generation":              newAuthority(t, "hippo server ca g2").Certificate,
		"the same name":                    newAuthority(t, "hippo server ca g1").Certificate,
		"the same key under another name":  reissued(t, own, named("hippo server ca g9")),
		"the same key, another identifier": reissued(t, own, identified(1)),
		"the same name, identifier forged": forgeCA(t, "hippo server ca g1", nil, func(c *x509.Certificate) { c.SubjectKeyId = own.Certificate.SubjectKeyId }).Certificate,
		"the same authority, long expired": reissued(t, own, ended),
	}
	rapid.Check(t, func(t *rapid.T) {
		r := drawLeaf(t)
		pair := must[*KeyPair](t)(own.Issue(r))
		check := VerifyRequest{Chain: pair.Chain, Anchors: []*x509.Certificate{own.Certificate}, At: epoch, Usage: r.Usage}
		wantReason(t, Verify(check), "")

		for _, host := range hostsOf(r) {
			check.DNSName = host
			wantReason(t, Verify(check), "")
		}
		check.DNSName = "not.among.them"
		wantReason(t, Verify(check), NameMissing)
		check.DNSName = ""

		for name, other := range others {
			check.Anchors = []*x509.Certificate{other}
			if Verify(check) == nil {
				t.Fatalf("it verifies against %s too", name)
			}
		}
		check.Anchors = []*x509.Certificate{own.Certificate}

		check.Usage = ServerAuth | ClientAuth ^ r.Usage
		if Verify(check) == nil {
			t.Fatalf("it passes for the other usage")
		}
		check.Usage = r.Usage

		check.At = r.NotBefore.Add(-time.Second)
		wantReason(t, Verify(check), NotYetValid)
		check.At = r.NotAfter
		wantReason(t, Verify(check), Expired)
	})
}

// hostsOf returns a host for each name and address of the request.
func hostsOf(r LeafRequest) []string {
	var hosts []string
	for _, name := range r.DNSNames {
		if name[0] == '*' {
			name = "any" + name[1:]
		}
		hosts = append(hosts, name)
	}
	for _, address := range r.IPAddresses {
		hosts = append(hosts, address.String())
	}
	return hosts
}

func TestEveryKeyPairSurvivesItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pair := must[*KeyPair](t)(sharedAuthority().Issue(drawLeaf(t)))
		if rapid.Bool().Draw(t, "with authority") {
			pair.Chain = append(pair.Chain, sharedAuthority().Certificate)
		}
		again := must[*KeyPair](t)(ParseKeyPair(pair.EncodeChain(), must[[]byte](t)(pair.EncodeKey())))
		samePair(t, pair, again)
		if !Facts(pair.Leaf()).Equal(Facts(again.Leaf())) {
			t.Fatalf("the facts have changed")
		}
	})
}

func TestEqualRequestsGiveEqualNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawLeaf(t)
		shuffled := r
		shuffled.DNSNames = rapid.Permutation(append(slices.Clone(r.DNSNames), r.DNSNames[0])).Draw(t, "names again")
		if len(r.IPAddresses) > 0 {
			shuffled.IPAddresses = rapid.Permutation(append(slices.Clone(r.IPAddresses), r.IPAddresses[0])).Draw(t, "addresses again")
		}
		a, b := must[*KeyPair](t)(sharedAuthority().Issue(r)).Leaf(), must[*KeyPair](t)(sharedAuthority().Issue(shuffled)).Leaf()
		if !slices.Equal(a.DNSNames, b.DNSNames) || !slices.EqualFunc(a.IPAddresses, b.IPAddresses, net.IP.Equal) {
			t.Fatalf("%q %v and %q %v", a.DNSNames, a.IPAddresses, b.DNSNames, b.IPAddresses)
		}
	})
}

// TestNoFlippedBitVerifies changes one bit anywhere in a leaf: it no longer parses, or no longer verifies.
func TestNoFlippedBitVerifies(t *testing.T) {
	a := sharedAuthority()
	good := newServer(t, a).Leaf().Raw
	rapid.Check(t, func(t *rapid.T) {
		der := slices.Clone(good)
		der[rapid.IntRange(0, len(der)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if Verify(serverCheck([]*x509.Certificate{leaf}, a.Certificate)) == nil {
			t.Fatalf("it verifies")
		}
	})
}
