package gather

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// ambiguous refuses anchors from elsewhere beside which verifiers would refuse what is presented, or is about to be. An authority
// that was made anew under its old name is such a one, where key identifiers are missing: OpenSSL takes any anchor of the
// issuer's name and tries no second, so that already to trust it would be an outage.
func ambiguous(v *look, domain facts.Domain, p *snapshot.Presented) bool {
	held := v.ExternalAnchors(domain)
	both := slices.Concat(held, p.Anchors)
	accepts := func(anchors []*x509.Certificate, chain []*x509.Certificate) error {
		return pki.Verify(pki.VerifyRequest{Chain: chain, Anchors: anchors, At: v.Observed.Now, Usage: domain.Usage(), Lenient: true})
	}
	refuse := func(whose string, err error) bool {
		p.Findings = append(p.Findings, custom.Finding{Reason: snapshot.AnchorAmbiguous, Severity: custom.Refuse, Message: fmt.Sprintf(
			"%s: with its authorities beside those that are trusted already, verifiers would refuse %s (%s): give the authority another name, or issue it and what it issues with key identifiers",
			p.Source, whose, err)})
		return true
	}
	if p.Pair != nil && accepts(p.Anchors, p.Pair.Chain) == nil {
		if err := accepts(both, p.Pair.Chain); err != nil {
			return refuse("the certificate in it", err)
		}
	}
	for _, other := range presentedIn(v, domain) {
		if accepts(held, other.pair.Chain) != nil {
			continue // as it is
		}
		if err := accepts(both, other.pair.Chain); err != nil {
			return refuse("the certificate of "+other.whose, err)
		}
	}
	return false
}

// heldPair is a certificate from elsewhere with the pod that presents or holds it.
type heldPair struct {
	whose string
	pair  *pki.KeyPair
}

// presentedIn are the certificates from elsewhere that are presented in a domain, or accepted and about to be.
func presentedIn(v *look, domain facts.Domain) (pairs []heldPair) {
	for i := range v.Observed.Parties {
		party := &v.Observed.Parties[i]
		if pair, _ := presents(v, party, domain); pair != nil {
			pairs = append(pairs, heldPair{party.Name, pair})
		}
	}
	for _, p := range v.Customs {
		if p.Slot.Domain == domain && p.Pair != nil {
			pairs = append(pairs, heldPair{p.Source, p.Pair})
		}
	}
	return pairs
}

// unfit refuses anchors that are named like an authority of the cluster: OpenSSL would take the one for the other, and to it
// neither letters in upper case nor more blanks make another name. It also refuses those that cannot be noted.
func unfit(v *look, domain facts.Domain, p *snapshot.Presented) bool {
	for _, a := range p.Anchors {
		if v.RecordNotOwned && !v.IsExternal(domain, pki.Facts(a).Fingerprint) {
			p.Findings = append(p.Findings, custom.Finding{Reason: snapshot.RecordNotOwned, Severity: custom.Refuse, Message: fmt.Sprintf(
				"Secret %s exists and does not belong to this cluster, and nothing more can be noted as trusted: rename or delete it", desired.TrustRecord(v.Cluster.Name))})
			return true
		}
		subject := pki.Facts(a).Subject
		if material.GenerationNamed(v.Cluster.Name, domain, asCompared(subject)) > 0 {
			p.Findings = append(p.Findings, custom.Finding{Reason: snapshot.AnchorReserved, Severity: custom.Refuse, Message: fmt.Sprintf(
				"%s: the authority %s bears the name of one of the cluster's own: let the issuer have another name", p.Source, subject)})
			return true
		}
	}
	return crowded(v, domain, p) || ambiguous(v, domain, p)
}

// maxForeign is how many anchors from elsewhere a bundle has room for beside the cluster's own generations: a pod takes no
// bundle of more than pki.MaxCertificates, and would be left with what it has.
const maxForeign = pki.MaxCertificates - 10

// crowded refuses anchors for which a domain's bundle has no room, because of what other sources bring or have brought.
func crowded(v *look, domain facts.Domain, p *snapshot.Presented) bool {
	room := maxForeign - len(v.ExternalAnchors(domain))
	for _, a := range p.Anchors {
		if !v.IsExternal(domain, pki.Facts(a).Fingerprint) {
			room--
		}
	}
	if room >= 0 {
		return false
	}
	p.Findings = append(p.Findings, custom.Finding{Reason: custom.TooLarge, Severity: custom.Refuse, Message: fmt.Sprintf(
		"%s: with its %d authorities the bundle of the domain %s would hold more than %d from elsewhere: name only those that issue for this cluster", p.Source, len(p.Anchors), domain, maxForeign)})
	return true
}

// asCompared is a name as OpenSSL compares it with others, but for the type of each part, which is as it is.
func asCompared(subject string) string {
	kind, value, _ := strings.Cut(subject, "=")
	return kind + "=" + strings.ToLower(strings.Join(strings.Fields(value), " "))
}
