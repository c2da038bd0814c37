package tls

import (
	"crypto/x509"
	"fmt"
	"slices"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// ambiguous refuses anchors from elsewhere beside which verifiers would refuse what is presented, or is about to be. An authority
// that was made anew under its old name is such a one, where key identifiers are missing: OpenSSL takes any anchor of the
// issuer's name and tries no second, so that already to trust it would be an outage.
func (v *view) ambiguous(domain rotation.Domain, p *presented) bool {
	held := v.foreignAnchors(domain)
	both := slices.Concat(held, p.anchors)
	accepts := func(anchors []*x509.Certificate, chain []*x509.Certificate) error {
		return pki.Verify(pki.VerifyRequest{Chain: chain, Anchors: anchors, At: v.observed.Now, Usage: usages[domain], Foreign: true})
	}
	refuse := func(whose string, err error) bool {
		p.findings = append(p.findings, custom.Finding{Reason: anchorAmbiguous, Severity: custom.Refuse, Message: fmt.Sprintf(
			"%s: with its authorities beside those that are trusted already, verifiers would refuse %s (%s): give the authority another name, or issue it and what it issues with key identifiers",
			p.source, whose, err)})
		return true
	}
	if p.pair != nil && accepts(p.anchors, p.pair.Chain) == nil {
		if err := accepts(both, p.pair.Chain); err != nil {
			return refuse("the certificate in it", err)
		}
	}
	for _, other := range v.presentedIn(domain) {
		if accepts(held, other.pair.Chain) != nil {
			continue // as it is
		}
		if err := accepts(both, other.pair.Chain); err != nil {
			return refuse("the certificate of "+other.whose, err)
		}
	}
	return false
}

// heldPair is a certificate from elsewhere with who presents or holds it.
type heldPair struct {
	whose string
	pair  *pki.KeyPair
}

// presentedIn are the certificates from elsewhere that are presented in a domain, or accepted and about to be.
func (v *view) presentedIn(domain rotation.Domain) (pairs []heldPair) {
	for i := range v.observed.Parties {
		party := &v.observed.Parties[i]
		if pair, _ := v.presents(party, domain); pair != nil {
			pairs = append(pairs, heldPair{party.Name, pair})
		}
	}
	for _, p := range v.customs {
		if p.slot.domain == domain && p.pair != nil {
			pairs = append(pairs, heldPair{p.source, p.pair})
		}
	}
	return pairs
}
