package custom

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"pgtls.dev/pgtls/internal/pki"
)

func notCovered(leaf *x509.Certificate, hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return pki.CoversName(leaf, host) })
}

func namesOf(leaf *x509.Certificate) []string {
	facts := pki.Facts(leaf)
	return append(facts.DNSNames, facts.IPs...)
}

var idCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName returns the first one, as PostgreSQL does; crypto/x509 returns the last.
func commonName(leaf *x509.Certificate) string {
	for _, part := range leaf.Subject.Names {
		if name, ok := part.Value.(string); ok && part.Type.Equal(idCommonName) {
			return name
		}
	}
	return ""
}

// equalLives takes one hundredth for nothing: people issue the one a minute after the other.
func equalLives(leaf, issuer *x509.Certificate) bool {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return issuer.NotAfter.Sub(issuer.NotBefore) <= life+life/100
}
