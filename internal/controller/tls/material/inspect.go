package material

import (
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// InspectParty tells what a party's Secret is worth to it.
func InspectParty(party *facts.Party, secret *corev1.Secret, now time.Time) facts.Material {
	if party.Kind != facts.Application {
		return Inspect(secret, party.Wants, now)
	}
	m := Inspect(AsMaterial(secret), party.Wants, now)
	for i := range m.Leaves { // there is no bundle beside it to verify it against
		if leaf := &m.Leaves[i]; leaf.Problem == "" && !now.Before(leaf.NotAfter) {
			leaf.Problem = string(pki.Expired)
		}
	}
	return m
}

// AsMaterial is an application's Secret with the keys that material has.
func AsMaterial(secret *corev1.Secret) *corev1.Secret {
	if secret == nil {
		return nil
	}
	out := secret.DeepCopy()
	for material, application := range ApplicationFiles {
		if content, there := out.Data[application]; there {
			out.Data[material] = content
			delete(out.Data, application)
		}
	}
	return out
}

// Leftovers are the leaves in a material Secret.
func Leftovers(secret *corev1.Secret) (leaves []facts.Leftover) {
	for _, domain := range facts.Domains() {
		files := PairFiles[domain]
		if pair, err := pki.ParseKeyPair(secret.Data[files.Certificate], secret.Data[files.Key]); err == nil {
			leaves = append(leaves, facts.Leftover{Party: secret.Name, Domain: domain, IssuerKeyID: pki.Facts(pair.Leaf()).IssuerKeyID})
		}
	}
	return leaves
}

// Inspect tells what a material Secret is worth to a party that wants these leaves.
func Inspect(secret *corev1.Secret, wants []facts.LeafWant, now time.Time) facts.Material {
	m := facts.Material{
		State:    facts.Present,
		Revision: pki.Revision(secret.Data),
		Answered: secret.Annotations[AnsweredAnnotation],
	}
	bundles := map[facts.Domain][]*x509.Certificate{}
	known := append(make([]string, 0, 12), agentapi.RevocationLists)
	for _, domain := range facts.Domains() {
		known = append(known, BundleFiles[domain])
		anchors, err := pki.ParseBundle(secret.Data[BundleFiles[domain]])
		if err != nil || len(anchors) == 0 {
			continue
		}
		bundles[domain] = anchors
		m.Anchors.Set(domain, Fingerprints(anchors))
	}
	for _, want := range wants {
		files := PairFiles[want.Domain]
		known = append(known, files.Certificate, files.Key)
		m.Leaves = append(m.Leaves, inspectLeaf(secret, want.Domain, bundles[want.Domain], now))
	}
	inspectRevocation(&m, secret, bundles[facts.Client], now)
	m.Customs = inspectCustoms(secret, wants, bundles, now)
	if HasProcess(wants) {
		for _, files := range ProcessFiles {
			known = append(known, files.Certificate, files.Key)
		}
	}
	for key := range secret.Data {
		m.Altered = m.Altered || !slices.Contains(known, key)
	}
	return m
}

// inspectLeaf reads one pair and verifies it against the bundle beside it.
func inspectLeaf(secret *corev1.Secret, domain facts.Domain, anchors []*x509.Certificate, now time.Time) facts.Leaf {
	files := PairFiles[domain]
	pair, err := pki.ParseKeyPair(secret.Data[files.Certificate], secret.Data[files.Key])
	if err != nil {
		return facts.Leaf{Domain: domain, Problem: string(pki.ReasonOf(err))}
	}
	leaf := facts.Leaf{Domain: domain, CertificateFacts: pki.Facts(pair.Leaf())}
	for _, bridge := range pair.Chain[1:] {
		leaf.Chain = append(leaf.Chain, pki.Facts(bridge).Fingerprint)
	}
	err = pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: anchors, At: now, Usage: Usages[domain]})
	if err != nil && len(anchors) > 0 { // a damaged bundle is a fault of its own
		leaf.Problem = string(pki.ReasonOf(err))
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
