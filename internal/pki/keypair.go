package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
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

// EncodeBundle returns the anchors as PEM, without doubles and sorted by subject and then by content, so that
// the same set always gives the same bytes. An empty set gives no bytes.
func EncodeBundle(anchors []*x509.Certificate) []byte {
	sorted := slices.Clone(anchors)
	slices.SortFunc(sorted, func(a, b *x509.Certificate) int {
		if order := strings.Compare(a.Subject.String(), b.Subject.String()); order != 0 {
			return order
		}
		return bytes.Compare(a.Raw, b.Raw)
	})
	return encodeCertificates(slices.CompactFunc(sorted, (*x509.Certificate).Equal))
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
