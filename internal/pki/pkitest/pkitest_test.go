package pkitest_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// What the builder makes without an option is good: the product, which is as strict as OpenSSL, accepts it.
func TestGoodChainsAreAccepted(t *testing.T) {
	root := pkitest.CA("Root")
	issuing := root.Intermediate("Issuing", pkitest.PathLength(0))
	for name, c := range map[string]struct {
		leaf  *pkitest.Certificate
		usage pki.Usage
		host  string
	}{
		"server": {issuing.Leaf("db", pkitest.Hosts("db.example", "10.0.0.7")), pki.ServerAuth, "db.example"},
		"client": {root.Leaf("ann", pkitest.Client, pkitest.Key(pkitest.RSAKey(2048))), pki.ClientAuth, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := pki.Verify(pki.VerifyRequest{Chain: c.leaf.Chain(), Anchors: []*x509.Certificate{root.Certificate}, At: time.Now(), Usage: c.usage, DNSName: c.host})
			if err != nil {
				t.Error(err)
			}
			secret := c.leaf.Secret()
			if _, err := tls.X509KeyPair(secret["tls.crt"], secret["tls.key"]); err != nil {
				t.Error(err)
			}
			if string(secret["ca.crt"]) != string(root.PEM()) {
				t.Error("ca.crt is not the root")
			}
		})
	}
}

// Each fault is the one that its option names.
func TestFaultsAreRefused(t *testing.T) {
	root := pkitest.CA("Root")
	now := time.Now()
	for name, c := range map[string]struct {
		leaf *pkitest.Certificate
		want pki.Reason
	}{
		"by hand":          {root.Leaf("db", pkitest.ByHand), pki.KeyIdentifierMissing},
		"broken signature": {root.Leaf("db", pkitest.BrokenSignature), pki.SignatureInvalid},
		"ended":            {root.Leaf("db", pkitest.Valid(now.Add(-time.Hour), now.Add(-time.Minute))), pki.Expired},
		"of a client":      {root.Leaf("db", pkitest.Client), pki.UsageMissing},
		"another root":     {pkitest.CA("Other").Leaf("db"), pki.UnknownAuthority},
	} {
		t.Run(name, func(t *testing.T) {
			err := pki.Verify(pki.VerifyRequest{Chain: c.leaf.Chain(), Anchors: []*x509.Certificate{root.Certificate}, At: now, Usage: pki.ServerAuth})
			if got := pki.ReasonOf(err); got != c.want {
				t.Errorf("reason %q, want %q: %v", got, c.want, err)
			}
		})
	}
}

func TestOptionsStandInTheCertificate(t *testing.T) {
	key := pkitest.ECKey()
	name := pkix.Name{Country: []string{"CH"}, CommonName: "Company CA"}
	c := pkitest.CA("x", pkitest.Subject(name), pkitest.Serial(0xbeef), pkitest.PublicKey(key.Public()), pkitest.Key(key),
		pkitest.Edit(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example"} }))
	if c.Subject.String() != "CN=Company CA,C=CH" || c.SerialNumber.Int64() != 0xbeef || !slices.Equal(c.PermittedDNSDomains, []string{"example"}) {
		t.Errorf("%s, %x, %v", c.Subject, c.SerialNumber, c.PermittedDNSDomains)
	}
	if leaf := c.Leaf("x", pkitest.PublicKey(pkitest.ECKey().Public())); leaf.Key != nil {
		t.Error("a leaf for a public key has a private one")
	}
	if pkitest.RSAKey(2048) != pkitest.RSAKey(2048) {
		t.Error("an RSA key is made twice")
	}
}
