package pki

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// verdict is one case of TestVerify. OpenSSL's own verdict on the same input stands beside it, and
// TestVerifyIsAtLeastAsStrictAsOpenSSL asks the real openssl command whether that is so.
type verdict struct {
	name    string
	request func(t *testing.T) VerifyRequest
	want    Reason  // "" accepts
	openssl opinion // "" is: the same as ours
}

type opinion string

const (
	sameOpinion     opinion = ""
	opensslAccepts  opinion = "accepts" // we are stricter, on purpose
	noOpensslAnswer opinion = "none"    // the request cannot be put to the command
)

var verdicts = slices.Concat(goodChains, badPaths, badAnchors, badLeaves, badTimes, badUsages, badAlgorithms, hostNames, badRequests)

var goodChains = []verdict{
	{name: "a server's leaf under its authority", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, a.Certificate)
	}},
	{name: "a client's leaf under its authority", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo client ca g1")
		return VerifyRequest{Chain: newClient(t, a).Chain, Anchors: []*x509.Certificate{a.Certificate}, At: epoch, Usage: ClientAuth}
	}},
	{name: "two generations in the bundle", request: func(t *testing.T) VerifyRequest {
		g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
		return serverCheck(newServer(t, g2).Chain, g1.Certificate, g2.Certificate)
	}},
	{name: "bridge, the verifier knows the old authority", request: func(t *testing.T) VerifyRequest {
		g1, _, chain := bridged(t)
		return serverCheck(chain, g1.Certificate)
	}},
	{name: "bridge, the verifier knows the new authority", request: func(t *testing.T) VerifyRequest {
		_, g2, chain := bridged(t)
		return serverCheck(chain, g2.Certificate)
	}},
	{name: "bridge, the verifier knows both", request: func(t *testing.T) VerifyRequest {
		g1, g2, chain := bridged(t)
		return serverCheck(chain, g1.Certificate, g2.Certificate)
	}},
	{name: "bridge, the verifier knows both, the other way round", request: func(t *testing.T) VerifyRequest {
		g1, g2, chain := bridged(t)
		return serverCheck(chain, g2.Certificate, g1.Certificate)
	}},
	{name: "an external chain with one intermediate", request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root)
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate)
	}},
	{name: "an external chain that also presents its root", request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root)
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate, root.Certificate), root.Certificate)
	}},
	{name: "a stranger behind the path", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(append(newServer(t, a).Chain, newAuthority(t, "stranger").Certificate), a.Certificate)
	}},
	{name: "the same anchor twice", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, a.Certificate, a.Certificate)
	}},
	{name: "an anchor that has expired and is not needed", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g2")
		old := forgeCA(t, "hippo server ca g1", nil, ended)
		return serverCheck(newServer(t, a).Chain, old.Certificate, a.Certificate)
	}},
	{name: "an anchor renewed with its key, the expired one first", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, reissued(t, a, ended), a.Certificate)
	}},
	{name: "an anchor renewed with its key, the expired one last", request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, a.Certificate, reissued(t, a, ended))
	}},
	{name: "an anchor without authority key identifier", request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		if len(a.Certificate.AuthorityKeyId) != 0 {
			t.Fatal("the forged root has one")
		}
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "a leaf without extended key usage is unrestricted", request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), a.Certificate)
	}},
	{name: "a leaf without key usage is unrestricted", request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) { c.KeyUsage = 0 }), a.Certificate)
	}},
	{name: "a leaf for servers and clients", request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		}), a.Certificate)
	}},
	{name: "a permitted name under a constrained CA", request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, permits("postgres.svc"))
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
}

var badPaths = []verdict{
	{name: "another authority", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		return serverCheck(newServer(t, newAuthority(t, "hippo server ca g2")).Chain, newAuthority(t, "hippo server ca g1").Certificate)
	}},
	{name: "an authority of the same name with another key", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		return serverCheck(newServer(t, newAuthority(t, "hippo server ca g1")).Chain, newAuthority(t, "hippo server ca g1").Certificate)
	}},
	{name: "an authority of the same key with another name", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, reissued(t, a, named("hippo server ca g2")))
	}},
	{name: "an authority of the same name and key with another key identifier", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, reissued(t, a, identified(7)))
	}},
	{name: "an authority of the same name and key identifier with another key", want: SignatureInvalid, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		impostor := forgeCA(t, "hippo server ca g1", nil, func(c *x509.Certificate) { c.SubjectKeyId = a.Certificate.SubjectKeyId })
		return serverCheck(newServer(t, a).Chain, impostor.Certificate)
	}},
	{name: "a broken signature", want: SignatureInvalid, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck([]*x509.Certificate{withBrokenSignature(t, newServer(t, a).Leaf())}, a.Certificate)
	}},
	{name: "a bridge with a broken signature", want: SignatureInvalid, request: func(t *testing.T) VerifyRequest {
		g1, _, chain := bridged(t)
		chain[1] = withBrokenSignature(t, chain[1])
		return serverCheck(chain, g1.Certificate)
	}},
	{name: "a bridge that has expired", want: Expired, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root, ended)
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate)
	}},
	{name: "no bridge, the verifier knows the old authority", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		g1, _, chain := bridged(t)
		return serverCheck(chain[:1], g1.Certificate)
	}},
	{name: "issuers in the wrong order", want: UnknownAuthority, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		policy := forgeCA(t, "policy", root)
		issuing := forgeCA(t, "issuing", policy)
		return serverCheck(append(forgeLeaf(t, issuing), policy.Certificate, issuing.Certificate), root.Certificate)
	}},
	{name: "a missing intermediate", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		policy := forgeCA(t, "policy", root)
		issuing := forgeCA(t, "issuing", policy)
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate)
	}},
	{name: "a self-signed issuer is presented but not trusted", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(append(newServer(t, a).Chain, a.Certificate), newAuthority(t, "other").Certificate)
	}},
	{name: "the untrusted self-signed twin hides the bridge", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		g1, g2, chain := bridged(t)
		return serverCheck([]*x509.Certificate{chain[0], g2.Certificate, chain[1]}, g1.Certificate)
	}},
	{name: "a leaf issued by a leaf", want: NotCA, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		middle := &Authority{Key: pkitest.ECKey()}
		middle.Certificate = forge(t, leafTemplate(named("middle")), middle.Key, root)
		return serverCheck(append(forgeLeaf(t, middle), middle.Certificate), root.Certificate)
	}},
	{name: "an intermediate whose key may not sign certificates", want: NotCA, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate)
	}},
	{name: "a bridge below two bridges", want: ChainRefused, request: func(t *testing.T) VerifyRequest {
		root := newAuthority(t, "hippo server ca g1")
		first := forgeCA(t, "first", root)
		second := forgeCA(t, "second", first)
		third := forgeCA(t, "third", second)
		return serverCheck(append(forgeLeaf(t, third), third.Certificate, second.Certificate, first.Certificate), root.Certificate)
	}},
	{name: "a name that the CA may not issue", want: ChainRefused, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, permits("example.com"))
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "a leaf with an unknown critical extension", want: ChainRefused, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), a.Certificate)
	}},
	{name: "a leaf without authority key identifier", want: KeyIdentifierMissing, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		blind := &Authority{Certificate: withoutKeyID(a.Certificate), Key: a.Key}
		return serverCheck(forgeLeaf(t, blind), a.Certificate)
	}},
}

var badAnchors = []verdict{
	{name: "an empty bundle", want: UnknownAuthority, request: func(t *testing.T) VerifyRequest {
		return serverCheck(newServer(t, newAuthority(t, "hippo server ca g1")).Chain)
	}},
	{name: "an intermediate as only anchor", want: NotSelfSigned, request: func(t *testing.T) VerifyRequest {
		issuing := forgeCA(t, "issuing", forgeCA(t, "root", nil))
		return serverCheck(forgeLeaf(t, issuing), issuing.Certificate)
	}},
	{name: "an intermediate beside its root in the bundle", want: NotSelfSigned, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root)
		return serverCheck(forgeLeaf(t, issuing), root.Certificate, issuing.Certificate)
	}},
	{name: "a stray intermediate in the bundle leads OpenSSL astray", want: NotSelfSigned, request: func(t *testing.T) VerifyRequest {
		root, gone := forgeCA(t, "root", nil), forgeCA(t, "gone", nil)
		issuing := forgeCA(t, "issuing", root)
		stray := *issuing.Certificate
		strayCertificate := must[*x509.Certificate](t)(sign(&stray, gone.Certificate, issuing.Key.Public(), gone.Key))
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate, strayCertificate)
	}},
	{name: "the leaf itself as anchor", want: NotCA, request: func(t *testing.T) VerifyRequest {
		leaf := newServer(t, newAuthority(t, "hippo server ca g1")).Leaf()
		return serverCheck([]*x509.Certificate{leaf}, leaf)
	}},
	{name: "a self-signed leaf as its own anchor", want: NotCA, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		leaf := forge(t, leafTemplate(), pkitest.ECKey(), nil)
		return serverCheck([]*x509.Certificate{leaf}, leaf)
	}},
	{name: "an anchor whose key may not sign certificates", want: NotCA, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "an anchor without key usage", want: NotCA, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, func(c *x509.Certificate) { c.KeyUsage = 0 })
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "an anchor without key identifier", want: KeyIdentifierMissing, openssl: noOpensslAnswer, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, withoutKeyID(a.Certificate))
	}},
	{name: "an anchor with its own signature and another authority key identifier", want: NotSelfSigned, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, reissued(t, a, func(c *x509.Certificate) { c.AuthorityKeyId = []byte{1, 2, 3} }))
	}},
	{name: "an anchor with its own signature and another issuer name", want: NotSelfSigned, request: func(t *testing.T) VerifyRequest {
		a, other := newAuthority(t, "hippo server ca g1"), *newAuthority(t, "hippo server ca g2").Certificate
		other.PublicKey = a.Key.Public()
		renamed := must[*x509.Certificate](t)(sign(a.Certificate, &other, a.Key.Public(), a.Key))
		return serverCheck(newServer(t, a).Chain, renamed)
	}},
	{name: "an anchor that only claims to have signed itself", want: NotSelfSigned, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, withBrokenSignature(t, a.Certificate))
	}},
	{name: "two anchors of one name and identifier with different keys", want: SignatureInvalid, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		impostor := forgeCA(t, "hippo server ca g1", nil, func(c *x509.Certificate) { c.SubjectKeyId = a.Certificate.SubjectKeyId })
		return serverCheck(newServer(t, a).Chain, impostor.Certificate, a.Certificate)
	}},
	{name: "the same two the other way round", want: SignatureInvalid, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		impostor := forgeCA(t, "hippo server ca g1", nil, func(c *x509.Certificate) { c.SubjectKeyId = a.Certificate.SubjectKeyId })
		return serverCheck(newServer(t, a).Chain, a.Certificate, impostor.Certificate)
	}},
	{name: "a weak anchor that is not needed", want: AlgorithmUnsupported, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, a.Certificate, forge(t, caTemplate("weak"), pkitest.RSAKey(1024), nil))
	}},
}

var badLeaves = []verdict{
	{name: "an authority instead of a leaf", want: IsCA, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		r := serverCheck([]*x509.Certificate{a.Certificate}, a.Certificate)
		r.DNSName = ""
		return r
	}},
	{name: "a CA with a server's names and usage", want: IsCA, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		hybrid := forgeCA(t, "hybrid", a, func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{hippo}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			c.KeyUsage |= x509.KeyUsageDigitalSignature
		})
		return serverCheck([]*x509.Certificate{hybrid.Certificate}, a.Certificate)
	}},
	{name: "the chain upside down", want: IsCA, openssl: noOpensslAnswer, request: func(t *testing.T) VerifyRequest {
		g1, _, chain := bridged(t)
		slices.Reverse(chain)
		return serverCheck(chain, g1.Certificate)
	}},
}

var badTimes = []verdict{
	{name: "at the very start", request: leafAt(-10*time.Minute, 0)},
	{name: "a second before the start", want: NotYetValid, request: leafAt(-10*time.Minute, -time.Second)},
	{name: "at the very end", want: Expired, request: leafAt(90*day, 0)},
	{name: "a second before the end", request: leafAt(90*day, -time.Second)},
	{name: "a nanosecond before the end", request: leafAt(90*day, -time.Nanosecond)},
	{name: "long after the end", want: Expired, request: leafAt(90*day, year)},
	{name: "the anchor has expired", want: Expired, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, ended)
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "the anchor is not valid yet", want: NotYetValid, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Second) })
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "the anchor is renewed and both have expired", want: Expired, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		return serverCheck(newServer(t, a).Chain, reissued(t, a, ended), reissued(t, a, ended))
	}},
}

var badUsages = []verdict{
	{name: "a client's leaf as a server's", want: UsageMissing, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo client ca g1")
		r := serverCheck(newClient(t, a).Chain, a.Certificate)
		r.DNSName = ""
		return r
	}},
	{name: "a server's leaf as a client's", want: UsageMissing, request: func(t *testing.T) VerifyRequest {
		a := newAuthority(t, "hippo server ca g1")
		r := serverCheck(newServer(t, a).Chain, a.Certificate)
		r.Usage = ClientAuth
		return r
	}},
	{name: "any extended key usage", want: UsageMissing, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), a.Certificate)
	}},
	{name: "an unknown extended key usage", want: UsageMissing, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3, 4}}
		}), a.Certificate)
	}},
	{name: "a leaf whose key may not sign handshakes", want: UsageMissing, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }), a.Certificate)
	}},
	{name: "a leaf whose key may only encipher", want: UsageMissing, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), a.Certificate)
	}},
	{name: "an intermediate for clients only", want: UsageMissing, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate)
	}},
}

var badAlgorithms = []verdict{
	{name: "an Ed25519 server", want: AlgorithmUnsupported, openssl: opensslAccepts, request: leafWithKey(pkitest.Ed25519Key)},
	{name: "a server signed with Ed25519", want: AlgorithmUnsupported, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		key := pkitest.Ed25519Key()
		a := &Authority{Certificate: forge(t, caTemplate("root"), key, nil), Key: key}
		return serverCheck(forgeLeaf(t, a), a.Certificate)
	}},
	{name: "an Ed25519 client is fine", request: func(t *testing.T) VerifyRequest {
		r := leafWithKey(pkitest.Ed25519Key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })(t)
		r.Usage, r.DNSName = ClientAuth, ""
		return r
	}},
	{name: "P-521 is fine", request: leafWithKey(func() crypto.Signer { return pkitest.ECKeyOn(elliptic.P521()) })},
	{name: "P-224", want: AlgorithmUnsupported, openssl: opensslAccepts, request: leafWithKey(func() crypto.Signer { return pkitest.ECKeyOn(elliptic.P224()) })},
	{name: "RSA with 1024 bits", want: AlgorithmUnsupported, request: leafWithKey(func() crypto.Signer { return pkitest.RSAKey(1024) })},
	{name: "RSA with 2048 bits is fine", request: leafWithKey(func() crypto.Signer { return pkitest.RSAKey(2048) })},
	{name: "an intermediate with 1024 bits", want: AlgorithmUnsupported, request: func(t *testing.T) VerifyRequest {
		root := forgeCA(t, "root", nil)
		key := pkitest.RSAKey(1024)
		issuing := &Authority{Certificate: forge(t, caTemplate("issuing"), key, root), Key: key}
		return serverCheck(append(forgeLeaf(t, issuing), issuing.Certificate), root.Certificate)
	}},
}

var hostNames = []verdict{
	{name: "no name asked for", request: leafNamed("", "a.example.com")},
	{name: "the name in another case", request: leafNamed("A.Example.COM", "a.example.com")},
	{name: "another name", want: NameMissing, request: leafNamed("b.example.com", "a.example.com")},
	{name: "a name below", want: NameMissing, request: leafNamed("x.a.example.com", "a.example.com")},
	{name: "a wildcard's label", request: leafNamed("a.example.com", "*.example.com")},
	{name: "two labels for a wildcard", want: NameMissing, request: leafNamed("a.b.example.com", "*.example.com")},
	{name: "no label for a wildcard", want: NameMissing, request: leafNamed("example.com", "*.example.com")},
	{name: "a wildcard within a label", want: NameMissing, openssl: opensslAccepts, request: leafNamed("abc.example.com", "a*.example.com")},
	{name: "a wildcard in the second label", want: NameMissing, request: leafNamed("a.b.example.com", "a.*.example.com")},
	{name: "a wildcard for a top-level name", want: NameMissing, request: leafNamed("a.com", "*.com")},
	{name: "an IPv4 address", request: leafNamed("10.0.0.7", "a.example.com", "10.0.0.7")},
	{name: "another IPv4 address", want: NameMissing, request: leafNamed("10.0.0.8", "a.example.com", "10.0.0.7")},
	{name: "an IPv6 address in another spelling", request: leafNamed("2001:DB8:0::7", "2001:db8::7")},
	{name: "an address among the DNS names", want: NameMissing, openssl: sameOpinion, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		r := serverCheck(forgeLeaf(t, a, func(c *x509.Certificate) { c.DNSNames = []string{"10.0.0.7"} }), a.Certificate)
		r.DNSName = "10.0.0.7"
		return r
	}},
	{name: "only the common name", want: NameMissing, openssl: opensslAccepts, request: func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck(forgeLeaf(t, a, named(hippo), func(c *x509.Certificate) { c.DNSNames = nil }), a.Certificate)
	}},
	{name: "a trailing dot asked for", want: NameMissing, request: leafNamed("a.example.com.", "a.example.com")},
}

var badRequests = []verdict{
	{name: "no chain", want: NoCertificate, openssl: noOpensslAnswer, request: func(t *testing.T) VerifyRequest {
		return serverCheck(nil, sharedAuthority().Certificate)
	}},
	{name: "no time", want: ValidityMalformed, openssl: noOpensslAnswer, request: func(t *testing.T) VerifyRequest {
		r := serverCheck(newServer(t, sharedAuthority()).Chain, sharedAuthority().Certificate)
		r.At = time.Time{}
		return r
	}},
	{name: "no usage", want: UsageMissing, openssl: noOpensslAnswer, request: func(t *testing.T) VerifyRequest {
		r := serverCheck(newServer(t, sharedAuthority()).Chain, sharedAuthority().Certificate)
		r.Usage = 0
		return r
	}},
	{name: "two usages", want: UsageMissing, openssl: noOpensslAnswer, request: func(t *testing.T) VerifyRequest {
		r := serverCheck(newServer(t, sharedAuthority()).Chain, sharedAuthority().Certificate)
		r.Usage = ServerAuth | ClientAuth
		return r
	}},
}

func TestVerify(t *testing.T) {
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) { wantReason(t, Verify(v.request(t)), v.want) })
	}
}

// TestVerifyIsStricterThanGo keeps the cases why this package does not leave the verdict to crypto/x509
// (design.md section 6). When Go refuses one of them one day, it may go.
func TestVerifyIsStricterThanGo(t *testing.T) {
	laxInGo := []string{
		"an authority of the same name and key with another key identifier",
		"a leaf without authority key identifier",
		"an intermediate as only anchor",
		"an anchor that only claims to have signed itself",
		"two anchors of one name and identifier with different keys",
		"at the very end",
		"any extended key usage",
		"a leaf whose key may not sign handshakes",
		"the untrusted self-signed twin hides the bridge",
		"RSA with 1024 bits",
	}
	for _, v := range verdicts {
		if !slices.Contains(laxInGo, v.name) {
			continue
		}
		laxInGo = slices.DeleteFunc(laxInGo, func(name string) bool { return name == v.name })
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			if err := goVerify(r); err != nil {
				t.Errorf("crypto/x509 refuses it too: %v", err)
			}
			if Verify(r) == nil {
				t.Error("Verify accepts it")
			}
		})
	}
	if len(laxInGo) > 0 {
		t.Errorf("no such case: %q", laxInGo)
	}
}

func TestVerifyLeavesItsArgumentsAlone(t *testing.T) {
	g1, g2, chain := bridged(t)
	spare := append(slices.Clone(chain), nil, nil)[:2] // room that an append would write into
	anchors := []*x509.Certificate{g1.Certificate, g2.Certificate}
	wantReason(t, Verify(serverCheck(spare, anchors...)), "")
	if !slices.Equal(spare, chain) || spare[:3][2] != nil || anchors[0] != g1.Certificate {
		t.Error("the chain or the anchors have changed")
	}
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	a := newAuthority(t, "hippo server ca g1")
	err := Verify(serverCheck(newServer(t, a).Chain, newAuthority(t, "hippo server ca g2").Certificate))
	for _, want := range []string{"CN=hippo-primary", "CN=hippo server ca g1", Facts(a.Certificate).KeyID} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

// The edits and builders of the cases.

func ended(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = epoch.Add(-2*year), epoch.Add(-time.Second)
}

func named(commonName string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject, c.RawSubject = pkix.Name{CommonName: commonName}, nil }
}

func identified(by byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.SubjectKeyId = bytes.Repeat([]byte{by}, 20)
		c.AuthorityKeyId = c.SubjectKeyId
	}
}

func permits(domain string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{domain}, true
	}
}

// withoutKeyID forgets the identifier after the fact: Go writes one into every CA that it makes.
func withoutKeyID(c *x509.Certificate) *x509.Certificate {
	blind := *c
	blind.SubjectKeyId, blind.AuthorityKeyId = nil, nil
	return &blind
}

func bridged(t *testing.T) (g1, g2 *Authority, chain []*x509.Certificate) {
	t.Helper()
	g1, g2 = newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	return g1, g2, append(newServer(t, g2).Chain, bridgeTo(t, g2, g1))
}

// leafAt looks at a good leaf at an offset from epoch, given in two parts that read well.
func leafAt(end, offset time.Duration) func(*testing.T) VerifyRequest {
	return func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil, func(c *x509.Certificate) { c.NotAfter = epoch.Add(9 * year) })
		r := serverCheck(must[*KeyPair](t)(a.Issue(serverRequest(hippo))).Chain, a.Certificate)
		r.At = epoch.Add(end).Add(offset)
		return r
	}
}

func leafWithKey(key func() crypto.Signer, edit ...func(*x509.Certificate)) func(*testing.T) VerifyRequest {
	return func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		return serverCheck([]*x509.Certificate{forge(t, leafTemplate(edit...), key(), a)}, a.Certificate)
	}
}

// leafNamed asks a leaf with these names and addresses for a host.
func leafNamed(host string, names ...string) func(*testing.T) VerifyRequest {
	return func(t *testing.T) VerifyRequest {
		a := forgeCA(t, "root", nil)
		chain := forgeLeaf(t, a, func(c *x509.Certificate) {
			c.DNSNames = nil
			for _, name := range names {
				if ip := net.ParseIP(name); ip != nil {
					c.IPAddresses = append(c.IPAddresses, ip)
				} else {
					c.DNSNames = append(c.DNSNames, name)
				}
			}
		})
		r := serverCheck(chain, a.Certificate)
		r.DNSName = host
		return r
	}
}
