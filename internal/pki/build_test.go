package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/netip"
	"sync"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// The builders of the tests. A certificate of pgtls comes from NewAuthority and Issue; one that only
// another program would make comes from pkitest, by forge with the names and times of these tests.

// epoch is the "now" of every test: the package reads no clock, so neither do they.
var epoch = time.Date(2030, time.March, 4, 5, 6, 7, 0, time.UTC)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func must[T any](t failer) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return v
	}
}

func wantReason(t failer, err error, want Reason) {
	t.Helper()
	if got := ReasonOf(err); got != want || (want == "") != (err == nil) {
		t.Fatalf("reason %q, want %q (error: %v)", got, want, err)
	}
}

func authorityRequest(commonName string) AuthorityRequest {
	return AuthorityRequest{CommonName: commonName, NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(2 * year)}
}

func newAuthority(t failer, commonName string) *Authority {
	t.Helper()
	return must[*Authority](t)(NewAuthority(authorityRequest(commonName)))
}

func serverRequest(names ...string) LeafRequest {
	return LeafRequest{
		CommonName: "hippo-primary", DNSNames: names, Usage: ServerAuth,
		NotBefore: epoch.Add(-10 * time.Minute), NotAfter: epoch.Add(90 * day),
	}
}

func clientRequest(role string) LeafRequest {
	return LeafRequest{CommonName: role, Usage: ClientAuth, NotBefore: epoch.Add(-10 * time.Minute), NotAfter: epoch.Add(30 * day)}
}

const hippo = "hippo-primary.postgres.svc"

func newServer(t failer, a *Authority) *KeyPair {
	t.Helper()
	r := serverRequest(hippo, "*.hippo-pods.postgres.svc")
	r.IPAddresses = []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("2001:db8::7")}
	return must[*KeyPair](t)(a.Issue(r))
}

func newClient(t failer, a *Authority) *KeyPair {
	t.Helper()
	return must[*KeyPair](t)(a.Issue(clientRequest("_replication")))
}

// serverCheck asks whether a client that holds these anchors accepts the chain, for hippo and now.
func serverCheck(chain []*x509.Certificate, anchors ...*x509.Certificate) VerifyRequest {
	return VerifyRequest{Chain: chain, Anchors: anchors, At: epoch, Usage: ServerAuth, DNSName: hippo}
}

// leafTemplate is a good external leaf; caTemplate a good external CA. Tests damage one thing in them.
func leafTemplate(edit ...func(*x509.Certificate)) *x509.Certificate {
	return edited(&x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "foreign leaf"}, DNSNames: []string{hippo},
		NotBefore: epoch.Add(-day), NotAfter: epoch.Add(90 * day), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, edit)
}

func caTemplate(commonName string, edit ...func(*x509.Certificate)) *x509.Certificate {
	return edited(&x509.Certificate{
		SerialNumber: big.NewInt(4712), Subject: pkix.Name{CommonName: commonName},
		NotBefore: epoch.Add(-day), NotAfter: epoch.Add(year), BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, edit)
}

func edited(c *x509.Certificate, edit []func(*x509.Certificate)) *x509.Certificate {
	for _, f := range edit {
		f(c)
	}
	return c
}

// forge signs whatever template says for key's public half. Without signer it is self-signed.
func forge(t failer, template *x509.Certificate, key crypto.Signer, signer *Authority) *x509.Certificate {
	t.Helper()
	if template.SubjectKeyId == nil {
		template.SubjectKeyId = must[[]byte](t)(keyIdentifier(key.Public()))
	}
	var issuer *pkitest.Certificate
	if signer != nil {
		issuer = &pkitest.Certificate{Certificate: signer.Certificate, Key: signer.Key}
	}
	return pkitest.Sign(template, key, issuer).Certificate
}

// forgeLeaf returns an external leaf under a, with a fresh P-256 key.
func forgeLeaf(t failer, a *Authority, edit ...func(*x509.Certificate)) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{forge(t, leafTemplate(edit...), pkitest.ECKey(), a)}
}

// forgeCA returns an external CA: self-signed, or under parent.
func forgeCA(t failer, commonName string, parent *Authority, edit ...func(*x509.Certificate)) *Authority {
	t.Helper()
	key := pkitest.ECKey()
	return &Authority{Certificate: forge(t, caTemplate(commonName, edit...), key, parent), Key: key}
}

// bridgeTo returns the certificate with which old vouches for the key of a: same subject, key and key identifier.
func bridgeTo(t failer, a, old *Authority) *x509.Certificate {
	t.Helper()
	return must[*x509.Certificate](t)(old.Bridge(BridgeRequest{Subject: a.Certificate, NotBefore: epoch, NotAfter: epoch.Add(year)}))
}

// reissued returns a's certificate again, self-signed with the same key, edited.
func reissued(t failer, a *Authority, edit ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := *a.Certificate
	template.SerialNumber = newSerial()
	return pkitest.Sign(edited(&template, edit), a.Key, nil).Certificate
}

// sharedAuthority is for tests that only read: making one costs more than the check.
var sharedAuthority = sync.OnceValue(func() *Authority {
	a, err := NewAuthority(authorityRequest("shared server ca g1"))
	if err != nil {
		panic(err)
	}
	return a
})

// withBrokenSignature returns c with its last byte changed, which is in the signature.
func withBrokenSignature(t failer, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	der := bytes.Clone(c.Raw)
	der[len(der)-1] ^= 0x55
	return must[*x509.Certificate](t)(x509.ParseCertificate(der))
}
