package material

import (
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Leftovers are the leaves in a material Secret.
func Leftovers(secret *corev1.Secret) (leaves []facts.Leftover) {
	for _, domain := range facts.Domains() {
		files := party.Mounted.Leaf(domain)
		if pair, err := pki.ParseKeyPair(secret.Data[files.Certificate], secret.Data[files.Key]); err == nil {
			leaves = append(leaves, facts.Leftover{Party: secret.Name, Domain: domain, IssuerKeyID: pki.Facts(pair.Leaf()).IssuerKeyID})
		}
	}
	return leaves
}

// Inspect tells what a party's Secret is worth to it.
func Inspect(of *facts.Party, secret *corev1.Secret, now time.Time) facts.Material {
	m := facts.Material{
		State:    facts.Present,
		Revision: pki.Revision(secret.Data),
		Answered: secret.Annotations[AnsweredAnnotation],
	}
	files := &of.Kind.Files
	bundles := map[facts.Domain][]*x509.Certificate{}
	for _, domain := range facts.Domains() {
		anchors, err := pki.ParseBundle(secret.Data[files.Bundle(domain)])
		if err != nil || len(anchors) == 0 {
			continue
		}
		bundles[domain] = anchors
		m.Anchors.Set(domain, Fingerprints(anchors))
	}
	for _, want := range of.Wants {
		m.Leaves = append(m.Leaves, inspectLeaf(secret, files.Leaf(want.Domain), want.Domain, bundles[want.Domain], now))
	}
	inspectRevocation(&m, secret, bundles[facts.Client], now)
	m.Customs = inspectCustoms(files, secret, bundles, now)
	m.Altered = altered(of, secret)
	return m
}

// altered reports whether a Secret holds a key besides those that belong there.
func altered(of *facts.Party, secret *corev1.Secret) bool {
	files := &of.Kind.Files
	known := append(make([]string, 0, 11), agentapi.RevocationLists)
	for _, domain := range facts.Domains() {
		known = append(known, files.Bundle(domain))
		if of.WantsLeaf(domain) {
			known = append(known, files.Leaf(domain).Certificate, files.Leaf(domain).Key)
		}
		known = append(known, files.Process(domain).Certificate, files.Process(domain).Key)
	}
	for key := range secret.Data {
		if !slices.Contains(known, key) {
			return true
		}
	}
	return false
}

// inspectLeaf reads one pair and verifies it against the bundle beside it. Where a party holds none, only the leaf's end is judged.
func inspectLeaf(secret *corev1.Secret, files party.Pair, domain facts.Domain, anchors []*x509.Certificate, now time.Time) facts.Leaf {
	pair, err := pki.ParseKeyPair(secret.Data[files.Certificate], secret.Data[files.Key])
	if err != nil {
		return facts.Leaf{Domain: domain, Problem: string(pki.ReasonOf(err))}
	}
	leaf := facts.Leaf{Domain: domain, CertificateFacts: pki.Facts(pair.Leaf())}
	for _, bridge := range pair.Chain[1:] {
		leaf.Chain = append(leaf.Chain, pki.Facts(bridge).Fingerprint)
	}
	err = pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: anchors, At: now, Usage: domain.Usage()})
	if err != nil && len(anchors) > 0 { // a damaged bundle is a fault of its own
		leaf.Problem = string(pki.ReasonOf(err))
	}
	if leaf.Problem == "" && len(anchors) == 0 && !now.Before(leaf.NotAfter) {
		leaf.Problem = string(pki.Expired)
	}
	return leaf
}

func Fingerprints(certificates []*x509.Certificate) []string {
	out := make([]string, len(certificates))
	for i, c := range certificates {
		out[i] = pki.Facts(c).Fingerprint
	}
	slices.Sort(out)
	return out
}
