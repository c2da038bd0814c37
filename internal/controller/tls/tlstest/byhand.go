package tlstest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// ByHand is an authority of plain "openssl req -x509": without key usage. What it issues has no authority key identifier, as of
// "openssl x509 -req" before OpenSSL 3.2.
type ByHand struct {
	t           *testing.T
	now         time.Time
	Certificate *x509.Certificate
	key         crypto.Signer
}

func NewByHand(t *testing.T, now time.Time, name string) ByHand {
	t.Helper()
	key, err := pki.GenerateKey(pki.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(9000 * time.Hour)}
	a := ByHand{t: t, now: now, key: key}
	a.Certificate = a.sign(template, template, key.Public())
	return a
}

func (a ByHand) sign(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a ByHand) Issue(usage x509.ExtKeyUsage) *pki.KeyPair {
	a.t.Helper()
	key, err := pki.GenerateKey(pki.ECDSAP256)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "db"}, DNSNames: []string{"db"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.Add(900 * time.Hour)}
	return &pki.KeyPair{Chain: []*x509.Certificate{a.sign(template, &x509.Certificate{Subject: a.Certificate.Subject}, key.Public())}, Key: key}
}

func (a ByHand) Fingerprint() string { return pki.Facts(a.Certificate).Fingerprint }
