package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// CertificateFacts is what decisions compare about a certificate. It holds no pointer into crypto/x509.
type CertificateFacts struct {
	Serial      string    // lower-case hex without leading zeros
	Subject     string    // RFC 2253: "CN=hippo server ca g1"
	Issuer      string    // RFC 2253
	KeyID       string    // subject key identifier in lower-case hex, "" when absent
	IssuerKeyID string    // authority key identifier in lower-case hex, "" when absent
	NotBefore   time.Time // UTC
	NotAfter    time.Time // UTC
	DNSNames    []string  // sorted, nil when there are none
	IPs         []string  // sorted as text, nil when there are none
	Algorithm   Algorithm // of the key, see AlgorithmOf
	Usage       Usage     // both when the certificate does not restrict it
	IsCA        bool
	Fingerprint string // SHA-256 of the DER in lower-case hex
}

// Equal reports whether both are facts about the same bytes, or at least agree in everything.
func (f CertificateFacts) Equal(g CertificateFacts) bool { return reflect.DeepEqual(f, g) }

// Facts reads what decisions compare.
func Facts(c *x509.Certificate) CertificateFacts {
	fingerprint := sha256.Sum256(c.Raw)
	return CertificateFacts{
		Serial:      c.SerialNumber.Text(16),
		Subject:     c.Subject.String(),
		Issuer:      c.Issuer.String(),
		KeyID:       hex.EncodeToString(c.SubjectKeyId),
		IssuerKeyID: hex.EncodeToString(c.AuthorityKeyId),
		NotBefore:   c.NotBefore.UTC(),
		NotAfter:    c.NotAfter.UTC(),
		DNSNames:    sortedCopy(c.DNSNames),
		IPs:         addressTexts(c),
		Algorithm:   AlgorithmOf(c.PublicKey),
		Usage:       usageOf(c),
		IsCA:        isCA(c),
		Fingerprint: hex.EncodeToString(fingerprint[:]),
	}
}

func addressTexts(c *x509.Certificate) []string {
	var texts []string
	for _, ip := range c.IPAddresses {
		if address, ok := netip.AddrFromSlice(ip); ok {
			texts = append(texts, address.Unmap().String())
		}
	}
	slices.Sort(texts)
	return texts
}

func sortedCopy(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return slices.Sorted(slices.Values(names))
}

// IssuerID tells issuers apart: the authority key identifier in lower-case hex, and where there is none the issuer's name, which
// is then all that verifiers go by.
func IssuerID(c *x509.Certificate) string {
	if len(c.AuthorityKeyId) > 0 {
		return hex.EncodeToString(c.AuthorityKeyId)
	}
	name := sha256.Sum256(c.RawIssuer)
	return "name-" + hex.EncodeToString(name[:20])
}
