package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// KeyPair is a chain with the key of its leaf: what a party presents.
type KeyPair struct {
	Chain []*x509.Certificate // leaf first, never empty
	Key   crypto.Signer
}

// Leaf returns the first certificate of the chain.
func (p *KeyPair) Leaf() *x509.Certificate { return p.Chain[0] }

// EncodeChain returns the chain as PEM, leaf first: the content of tls.crt.
func (p *KeyPair) EncodeChain() []byte { return encodeCertificates(p.Chain) }

// EncodeKey returns the key as one PEM block in PKCS#8: the content of tls.key.
func (p *KeyPair) EncodeKey() ([]byte, error) { return encodeKey(p.Key) }

// EncodeCertificate returns the authority's certificate as PEM.
func (a *Authority) EncodeCertificate() []byte {
	return encodeCertificates([]*x509.Certificate{a.Certificate})
}

// EncodeKey returns the authority's key as one PEM block in PKCS#8.
func (a *Authority) EncodeKey() ([]byte, error) { return encodeKey(a.Key) }

// EncodeBundle returns the certificates as PEM in the given order, which for anchors is newest first, without doubles. An
// empty set gives no bytes.
func EncodeBundle(certificates []*x509.Certificate) []byte {
	var once []*x509.Certificate
	for _, c := range certificates {
		if !slices.ContainsFunc(once, c.Equal) {
			once = append(once, c)
		}
	}
	return encodeCertificates(once)
}

func encodeCertificates(certificates []*x509.Certificate) []byte {
	var text []byte
	for _, c := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw})...)
	}
	return text
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: der}), nil
}

// TLS is the pair as crypto/tls takes it.
func (p *KeyPair) TLS() tls.Certificate {
	out := tls.Certificate{PrivateKey: p.Key, Leaf: p.Leaf()}
	for _, c := range p.Chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out
}
