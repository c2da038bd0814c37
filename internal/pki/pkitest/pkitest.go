// Package pkitest builds the keys, certificates and chains of tests: good ones, and ones with a fault.
//
//	root := pkitest.CA("Company Root CA")
//	issuing := root.Intermediate("Company Issuing CA")
//	leaf := issuing.Leaf("db", pkitest.Hosts("db.example", "10.0.0.7"), pkitest.Life(time.Hour))
//	leaf.ChainPEM() // the leaf and the intermediate: tls.crt
//	leaf.KeyPEM()   // tls.key
//	root.PEM()      // ca.crt
//
// Options change one thing each, in the order in which they stand:
//
//	root.Leaf("db", pkitest.Client, pkitest.Valid(from, to), pkitest.Key(pkitest.RSAKey(2048)))
//	root.Leaf("db", pkitest.ByHand)
//	root.Leaf("db", pkitest.Edit(func(c *x509.Certificate) { c.KeyUsage = 0 }))
//
// The package uses the standard library alone and nothing of package pki, so that a fault of the product cannot hide in the
// material that shows it. It panics where a certificate cannot be made: the test case is written wrongly.
// The product does not import it (test/layers), and no other test makes certificates by itself.
package pkitest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Certificate is a certificate with its key, and the way up to its root.
type Certificate struct {
	*x509.Certificate
	Key    crypto.Signer // nil when another program holds it, see PublicKey
	Issuer *Certificate  // nil for a root
}

// CA makes a root of ten years, whose common name is name. It may sign certificates and revocation lists.
func CA(name string, options ...Option) *Certificate {
	return build(authorityTemplate(name, 10*365*24*time.Hour), nil, options)
}

// Intermediate makes an authority of three years below this one.
func (c *Certificate) Intermediate(name string, options ...Option) *Certificate {
	return build(authorityTemplate(name, 3*365*24*time.Hour), c, options)
}

// Leaf makes a server's certificate of one day, which has no host name yet: see Hosts. Client makes it a client's.
func (c *Certificate) Leaf(commonName string, options ...Option) *Certificate {
	now := time.Now()
	return build(&Template{Certificate: x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}}, c, options)
}

func authorityTemplate(name string, life time.Duration) *Template {
	now := time.Now()
	return &Template{Certificate: x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}}
}

// Template is a certificate before it is signed.
type Template struct {
	x509.Certificate
	key            crypto.Signer
	public         crypto.PublicKey
	withoutKeyIDs  bool
	breakSignature bool
}

func build(t *Template, issuer *Certificate, options []Option) *Certificate {
	for _, option := range options {
		option(t)
	}
	if t.key == nil && t.public == nil {
		t.key = ECKey()
	}
	if t.public == nil {
		t.public = t.key.Public()
	}
	if t.SubjectKeyId == nil && !t.withoutKeyIDs {
		t.SubjectKeyId = keyID(t.public)
	}
	made := sign(t, issuer)
	if t.breakSignature {
		made.Certificate = withBrokenSignature(made.Certificate)
	}
	return made
}

// Sign makes the certificate that the template asks for, with no field added but a serial number; without issuer the key signs
// itself. It is for templates that are complete, or wrong on purpose.
func Sign(template *x509.Certificate, key crypto.Signer, issuer *Certificate) *Certificate {
	return sign(&Template{Certificate: *template, key: key, public: key.Public()}, issuer)
}

func sign(t *Template, issuer *Certificate) *Certificate {
	if t.SerialNumber == nil {
		t.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	}
	parent, key := &t.Certificate, t.key
	if issuer != nil {
		parent, key = issuer.Certificate, issuer.Key
		if t.withoutKeyIDs {
			parent = &x509.Certificate{Subject: parent.Subject, RawSubject: parent.RawSubject}
		}
	}
	der := must(x509.CreateCertificate(rand.Reader, &t.Certificate, parent, t.public, key))
	return &Certificate{Certificate: must(x509.ParseCertificate(der)), Key: t.key, Issuer: issuer}
}

// Chain is the certificate and the intermediates above it, nearest first, without the root: what a party presents.
func (c *Certificate) Chain() []*x509.Certificate {
	chain := []*x509.Certificate{c.Certificate}
	for above := c.Issuer; above != nil && above.Issuer != nil; above = above.Issuer {
		chain = append(chain, above.Certificate)
	}
	return chain
}

// Root is the last issuer above the certificate; a root's root is itself.
func (c *Certificate) Root() *Certificate {
	for c.Issuer != nil {
		c = c.Issuer
	}
	return c
}

// PEM is the certificate alone.
func (c *Certificate) PEM() []byte { return Encode(c.Certificate) }

// ChainPEM is Chain in PEM.
func (c *Certificate) ChainPEM() []byte { return Encode(c.Chain()...) }

// KeyPEM is the key in PKCS#8.
func (c *Certificate) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(c.Key))})
}

// TLS is the chain with its key, for a server or a client of crypto/tls.
func (c *Certificate) TLS() tls.Certificate {
	pair := tls.Certificate{PrivateKey: c.Key, Leaf: c.Certificate}
	for _, each := range c.Chain() {
		pair.Certificate = append(pair.Certificate, each.Raw)
	}
	return pair
}

// Secret is the content of a TLS Secret: tls.crt with the chain, tls.key, and ca.crt with the root.
func (c *Certificate) Secret() map[string][]byte {
	return map[string][]byte{"tls.crt": c.ChainPEM(), "tls.key": c.KeyPEM(), "ca.crt": c.Root().PEM()}
}

// Encode returns the certificates in PEM, in their order.
func Encode(certificates ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// withBrokenSignature changes the last octet, which is in the signature.
func withBrokenSignature(c *x509.Certificate) *x509.Certificate {
	der := bytes.Clone(c.Raw)
	der[len(der)-1] ^= 0x55
	return must(x509.ParseCertificate(der))
}

// keyID has 20 octets, as the product's have, and is made in another way.
func keyID(public crypto.PublicKey) []byte {
	sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(public)))
	return slices.Clone(sum[:20])
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("pkitest: %v", err))
	}
	return v
}
