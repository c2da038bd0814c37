package material

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// inspectCustoms tells what the process of a party presents in place of the party's leaves.
func inspectCustoms(files *party.Files, secret *corev1.Secret, bundles map[facts.Domain][]*x509.Certificate, now time.Time) (customs []facts.Custom) {
	for _, domain := range facts.Domains() {
		own, process := files.Leaf(domain), files.Process(domain)
		if process.Certificate == "" {
			continue // there is no process beside the party
		}
		if bytes.Equal(secret.Data[own.Certificate], secret.Data[process.Certificate]) && bytes.Equal(secret.Data[own.Key], secret.Data[process.Key]) {
			continue
		}
		pair, err := pki.ParseKeyPair(secret.Data[process.Certificate], secret.Data[process.Key])
		if err != nil {
			customs = append(customs, facts.Custom{Domain: domain, Problem: string(pki.ReasonOf(err))})
			continue
		}
		details := CustomOf(domain, pair, bundles[domain], now)
		if mine, err := pki.ParseKeyPair(secret.Data[own.Certificate], secret.Data[own.Key]); err == nil && ContentOf(mine) == details.Content {
			continue // written in another way
		}
		if len(details.Anchors) == 0 && len(bundles[domain]) > 0 { // a damaged bundle is a fault of its own
			err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: bundles[domain], At: now, Usage: domain.Usage(), Lenient: true})
			details.Problem = string(pki.ReasonOf(err))
		}
		customs = append(customs, details)
	}
	return customs
}

// CustomOf are the facts of a pair, with those anchors to which its chain leads.
func CustomOf(domain facts.Domain, pair *pki.KeyPair, anchors []*x509.Certificate, now time.Time) facts.Custom {
	details := pki.Facts(pair.Leaf())
	out := facts.Custom{
		Domain: domain, Fingerprint: details.Fingerprint, IssuerKeyID: pki.IssuerID(pair.Leaf()), Content: ContentOf(pair),
		NotBefore: details.NotBefore, NotAfter: details.NotAfter,
	}
	for _, a := range anchors {
		if pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: []*x509.Certificate{a}, At: now, Usage: domain.Usage(), Lenient: true}) == nil {
			out.Anchors = append(out.Anchors, pki.Facts(a).Fingerprint)
		}
	}
	slices.Sort(out.Anchors)
	return out
}

// ContentOf is short, so that a person can write it into an annotation. The key is the leaf's, so the chain says it all.
func ContentOf(pair *pki.KeyPair) string {
	return pki.Revision(map[string][]byte{"chain": pair.EncodeChain()})[:12]
}
