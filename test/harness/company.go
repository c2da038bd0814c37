package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// A Company issues certificates as many do: a root that is kept away, and an intermediate that signs.
type Company struct {
	Name         string
	root         *x509.Certificate
	intermediate *x509.Certificate
	key          crypto.Signer // of the intermediate
}

// NewCompany makes both authorities.
func NewCompany(name string) (*Company, error) {
	rootKey, root, err := sign(authorityTemplate(name+" Root CA", 2, 10*365*24*time.Hour), nil, nil)
	if err != nil {
		return nil, err
	}
	key, intermediate, err := sign(authorityTemplate(name+" Issuing CA", 0, 3*365*24*time.Hour), root, rootKey)
	if err != nil {
		return nil, err
	}
	return &Company{Name: name, root: root, intermediate: intermediate, key: key}, nil
}

// Issue returns the content of a Secret: tls.crt with the intermediate, tls.key and ca.crt with the root.
func (c *Company) Issue(commonName string, usage x509.ExtKeyUsage, life time.Duration, hosts ...string) (map[string][]byte, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{Organization: []string{c.Name}, CommonName: commonName}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life), BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, leaf, err := sign(template, c.intermediate, c.key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return map[string][]byte{
		"tls.crt": append(encodePEM(leaf), encodePEM(c.intermediate)...),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"ca.crt":  encodePEM(c.root),
	}, nil
}

// Root is what verifiers are to trust, in PEM.
func (c *Company) Root() string { return string(encodePEM(c.root)) }

func encodePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func authorityTemplate(name string, pathLength int, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, MaxPathLen: pathLength, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
	}
}

// sign makes a key and its certificate; without an issuer it signs itself.
func sign(template, issuer *x509.Certificate, issuerKey crypto.Signer) (crypto.Signer, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, nil, fmt.Errorf("signing %s: %w", template.Subject, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what was signed: %w", err)
	}
	return key, certificate, nil
}

// Authority is what an issuer that signs for the company needs, as cert-manager's CA issuer takes it: tls.crt with the chain,
// tls.key.
func (c *Company) Authority() (map[string][]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return map[string][]byte{
		"tls.crt": append(encodePEM(c.intermediate), encodePEM(c.root)...),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
}
