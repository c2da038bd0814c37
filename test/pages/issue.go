package pages

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// issuer is an authority of a stand-in.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
	above       string // PEM of its own issuers, nearest first
}

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newIssuer makes an authority; without parent a root.
func newIssuer(name string, parent *issuer, life time.Duration) (*issuer, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	made := &issuer{key: key}
	if parent == nil {
		parent = made
	} else {
		made.above = parent.chain()
	}
	made.certificate, err = parent.sign(authorityTemplate(pkix.Name{CommonName: name}), key.Public(), life)
	return made, err
}

func authorityTemplate(subject pkix.Name) *x509.Certificate {
	return &x509.Certificate{Subject: subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
}

func leafTemplate(name string, dnsNames []string, usage x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: dnsNames, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
}

// sign completes the template. An issuer without certificate signs itself.
func (i *issuer) sign(template *x509.Certificate, public crypto.PublicKey, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-30 * time.Second)
	template.NotAfter = time.Now().Add(life)
	parent := i.certificate
	if parent == nil {
		parent = template
	} else if template.SubjectKeyId, err = keyIdentifier(public); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, i.key)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", template.Subject, err)
	}
	return x509.ParseCertificate(der)
}

// keyIdentifier is method 1 of RFC 7093, section 2.
func keyIdentifier(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	sum := sha256.Sum256(der)
	return sum[:20], err
}

// chain is the issuer's own certificate and those above, in PEM.
func (i *issuer) chain() string { return encodeCertificate(i.certificate) + "\n" + i.above }

// encodeCertificate has no line end after the block, as what Vault answers.
func encodeCertificate(c *x509.Certificate) string { return encode("CERTIFICATE", c.Raw) }

func encodeKey(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", der), err
}

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
