package tlstest

import (
	"crypto/x509"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// ByHand is an authority of plain "openssl req -x509"; neither it nor what it issues has what strict verifiers ask for.
type ByHand struct {
	now         time.Time
	ca          *pkitest.Certificate
	Certificate *x509.Certificate
}

// NewByHand makes one that is valid now.
func NewByHand(t *testing.T, now time.Time, name string) ByHand {
	t.Helper()
	ca := pkitest.CA(name, pkitest.ByHand, pkitest.Valid(now.Add(-time.Hour), now.Add(9000*time.Hour)))
	return ByHand{now: now, ca: ca, Certificate: ca.Certificate}
}

// Issue makes a leaf for the host db.
func (a ByHand) Issue(usage x509.ExtKeyUsage) *pki.KeyPair {
	leaf := a.ca.Leaf("db", pkitest.Hosts("db"), pkitest.ByHand, pkitest.Usages(usage), pkitest.Valid(a.now.Add(-time.Hour), a.now.Add(900*time.Hour)))
	return &pki.KeyPair{Chain: leaf.Chain(), Key: leaf.Key}
}

// Fingerprint of the authority, as in pki.Facts.
func (a ByHand) Fingerprint() string { return pki.Facts(a.Certificate).Fingerprint }
