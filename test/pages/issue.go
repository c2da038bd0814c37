package pages

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// newIssuer makes an authority of a stand-in; without parent a root.
func newIssuer(name string, parent *pkitest.Certificate, life time.Duration) *pkitest.Certificate {
	if parent == nil {
		return pkitest.CA(name, lasting(life))
	}
	return parent.Intermediate(name, lasting(life))
}

// maker makes a certificate under an issuer.
type maker func(by *pkitest.Certificate, options ...pkitest.Option) *pkitest.Certificate

func authority(subject pkix.Name) maker {
	return func(by *pkitest.Certificate, options ...pkitest.Option) *pkitest.Certificate {
		return by.Intermediate("", append(options, pkitest.Subject(subject))...)
	}
}

func leaf(name string, dnsNames []string, usage x509.ExtKeyUsage) maker {
	return func(by *pkitest.Certificate, options ...pkitest.Option) *pkitest.Certificate {
		return by.Leaf(name, append(options, pkitest.Hosts(dnsNames...), pkitest.Usages(usage))...)
	}
}

// lasting is Vault's validity: backdated by 30 seconds.
func lasting(life time.Duration) pkitest.Option {
	now := time.Now()
	return pkitest.Valid(now.Add(-30*time.Second), now.Add(life))
}

// encodeCertificate has no line end after the block, as what Vault answers.
func encodeCertificate(c *pkitest.Certificate) string { return strings.TrimSpace(string(c.PEM())) }

// encodeKey has none either.
func encodeKey(c *pkitest.Certificate) string { return strings.TrimSpace(string(c.KeyPEM())) }

func encode(kind string, der []byte) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func decode(text string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("no PEM in %q", text)
	}
	return block.Bytes, nil
}
