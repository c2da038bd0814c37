package pki

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// Authority is a CA certificate with its key: one generation of one trust domain.
// It is safe for concurrent use.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// AuthorityRequest asks for a new authority with a new key.
type AuthorityRequest struct {
	// CommonName is the whole subject, "<cluster> <domain> ca g<N>": 1 to 64 characters.
	// It must be unique among the authorities that a verifier may ever hold together.
	CommonName string
	// Algorithm of the key; "" means DefaultAlgorithm.
	Algorithm Algorithm
	// NotBefore and NotAfter are cut to whole seconds, which is all that a certificate can hold.
	NotBefore, NotAfter time.Time
}

// LeafRequest asks for a new leaf with a new key.
type LeafRequest struct {
	// CommonName is at most 64 characters. A client's must not be empty: PostgreSQL maps it to a role.
	CommonName string
	// DNSNames may hold wildcards ("*.example.com"); upper case, order and doubles do not matter.
	DNSNames []string
	// IPAddresses have no zone; order and doubles do not matter.
	IPAddresses []netip.Addr
	// Usage is ServerAuth or ClientAuth. A server's leaf needs a name or an address.
	Usage Usage
	// Algorithm of the key; "" means DefaultAlgorithm.
	Algorithm Algorithm
	// NotBefore and NotAfter are cut to whole seconds.
	NotBefore, NotAfter time.Time
	// Serial is nil for a random one, as every leaf has that a party uses.
	Serial *big.Int
}

// authorityMaxPathLen lets two CAs stand between an authority and a leaf: bridges, each of which is another authority's key
// signed by the one before.
const authorityMaxPathLen = 2

// NewAuthority makes a self-signed CA certificate with a fresh key. It may sign leaves, revocation
// lists and bridges.
//
// Errors: NameMissing, NameMalformed, ValidityMalformed, AlgorithmUnsupported.
func NewAuthority(r AuthorityRequest) (*Authority, error) {
	if r.CommonName == "" {
		return nil, refuse(NameMissing, "name it after cluster, domain and generation", "the authority has no common name")
	}
	if err := checkCommonName(r.CommonName); err != nil {
		return nil, err
	}
	notBefore, notAfter, err := validity(r.NotBefore, r.NotAfter)
	if err != nil {
		return nil, err
	}
	key, err := GenerateKey(r.Algorithm)
	if err != nil {
		return nil, err
	}
	keyID, err := keyIdentifier(key.Public())
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: r.CommonName},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            authorityMaxPathLen,
		SubjectKeyId:          keyID,
		AuthorityKeyId:        keyID,
	}
	certificate, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing authority %q: %w", r.CommonName, err)
	}
	return &Authority{Certificate: certificate, Key: key}, nil
}

// Issue makes a leaf with a fresh key. The chain of the result is the leaf alone: verifiers hold the authority.
// Names come out in lower case, sorted and without doubles, so that equal requests give equal names.
//
// Errors: NameMissing, NameMalformed, UsageMissing, ValidityMalformed, LeafOutlivesAuthority, AlgorithmUnsupported.
func (a *Authority) Issue(r LeafRequest) (*KeyPair, error) {
	template, err := a.leafTemplate(r)
	if err != nil {
		return nil, err
	}
	key, err := GenerateKey(r.Algorithm)
	if err != nil {
		return nil, err
	}
	if template.SubjectKeyId, err = keyIdentifier(key.Public()); err != nil {
		return nil, err
	}
	leaf, err := sign(template, a.Certificate, key.Public(), a.Key)
	if err != nil {
		return nil, fmt.Errorf("signing leaf %q: %w", r.CommonName, err)
	}
	return &KeyPair{Chain: []*x509.Certificate{leaf}, Key: key}, nil
}

// leafTemplate checks the request before any key is made.
func (a *Authority) leafTemplate(r LeafRequest) (*x509.Certificate, error) {
	names, addresses, err := checkLeafNames(r)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter, err := validity(r.NotBefore, r.NotAfter)
	if err != nil {
		return nil, err
	}
	if end := a.Certificate.NotAfter; notAfter.After(end) {
		return nil, refuse(LeafOutlivesAuthority, "shorten the leaf or re-key the authority first",
			"the leaf would end at %s, after its authority at %s", notAfter.Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	}
	return &x509.Certificate{
		SerialNumber:          cmp.Or(r.Serial, newSerial()),
		Subject:               pkix.Name{CommonName: r.CommonName},
		DNSNames:              names,
		IPAddresses:           addresses,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{r.Usage.extended()},
		BasicConstraintsValid: true,
	}, nil
}

// checkLeafNames returns the request's names and addresses in their one order.
func checkLeafNames(r LeafRequest) ([]string, []net.IP, error) {
	if !r.Usage.single() {
		return nil, nil, refuse(UsageMissing, "ask for ServerAuth or for ClientAuth", "the usage of the leaf is %q", r.Usage)
	}
	if err := checkCommonName(r.CommonName); err != nil {
		return nil, nil, err
	}
	names, err := sortedNames(r.DNSNames)
	if err != nil {
		return nil, nil, err
	}
	addresses, err := sortedAddresses(r.IPAddresses)
	if err != nil {
		return nil, nil, err
	}
	if r.Usage == ClientAuth && r.CommonName == "" {
		return nil, nil, refuse(NameMissing, "name the role that it logs in as", "the client's leaf has no common name")
	}
	if r.Usage == ServerAuth && len(names)+len(addresses) == 0 {
		return nil, nil, refuse(NameMissing, "give the names that clients connect to", "the server's leaf has neither DNS name nor IP address")
	}
	return names, addresses, nil
}

// validity cuts both ends to whole seconds in UTC.
func validity(notBefore, notAfter time.Time) (time.Time, time.Time, error) {
	from, to := notBefore.UTC().Truncate(time.Second), notAfter.UTC().Truncate(time.Second)
	if !from.Before(to) || from.Year() < 1 || to.Year() > 9999 {
		return from, to, refuse(ValidityMalformed, "give a start and a later end",
			"the validity from %s to %s is empty or out of range", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return from, to, nil
}

// newSerial returns a random number of exactly 20 octets, the longest that RFC 5280 section 4.1.2.2 allows.
// The top bit is clear, so it is positive; the next is set, so it always prints as 40 hex digits.
// 158 bits are random.
func newSerial() *big.Int {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// keyIdentifier returns a subject key identifier: the first 160 bits of the SHA-256 of the subjectPublicKey
// bit string. RFC 5280 section 4.2.1.2 leaves the method open, and this is method 1 of RFC 7093, which
// keeps the size of the SHA-1 method without SHA-1 (which FIPS mode does not have).
//
// It is computed once, when a key's first certificate is made. From then on the identifier that stands in that
// certificate counts: a bridge or a re-issued authority with another identifier is another issuer to OpenSSL.
func keyIdentifier(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("decoding public key: %w", err)
	}
	sum := sha256.Sum256(info.PublicKey.Bytes)
	return bytes.Clone(sum[:20]), nil
}

// sign returns the certificate as it will be read, not as it was asked for.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
