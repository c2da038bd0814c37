package tls

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// acceptance is the proof that everybody who verifies accepts what is about to be published: material is stored only with one.
// Only accepted makes it, by verifying the chains themselves, and not the facts about them that the plan was made from.
type acceptance struct{ revision string }

// accepted verifies what a party is to present, at least as strictly as OpenSSL does, against every bundle that somebody is
// known to hold, and against each authority alone that the chain claims to lead to.
func (v *view) accepted(step rotation.Step, data map[string][]byte) (acceptance, error) {
	for _, domain := range step.Reissue {
		files := pairFiles[domain]
		pair, err := pki.ParseKeyPair(data[files.certificate], data[files.key]) // which checks that the key belongs to it
		if err != nil {
			return acceptance{}, refusedProof("the new %s leaf of %s cannot be used: %s", domain, step.Party, err)
		}
		for _, held := range append(v.heldBundles(domain, step.Party), v.promised(domain, pair.Chain)...) {
			err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: v.observed.Now, Usage: usages[domain]})
			if err != nil {
				return acceptance{}, refusedProof("whoever holds %s would refuse the new %s leaf of %s: %s", subjectsOf(held), domain, step.Party, err)
			}
		}
	}
	if err := v.customsAccepted(step, data); err != nil {
		return acceptance{}, err
	}
	return acceptance{revision: pki.Revision(data)}, nil
}

// customsAccepted verifies the custom certificates that a party is to present from now on against every bundle that is held,
// unless somebody said that nobody is to be waited for.
func (v *view) customsAccepted(step rotation.Step, data map[string][]byte) error {
	for _, domain := range step.Adopt {
		if adoptionOf(v.cluster) == v1beta1.AdoptImmediate {
			continue
		}
		files := processFiles[domain]
		pair, err := pki.ParseKeyPair(data[files.certificate], data[files.key])
		if err != nil {
			return refusedProof("the custom %s certificate of %s cannot be used: %s", domain, step.Party, err)
		}
		for _, held := range v.heldBundles(domain, step.Party) {
			err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: v.observed.Now, Usage: usages[domain], Foreign: true})
			if err != nil {
				return refusedProof("whoever holds %s would refuse the custom %s certificate of %s: %s", subjectsOf(held), domain, step.Party, err)
			}
		}
	}
	return nil
}

func refusedProof(format string, args ...any) error {
	return &rotation.Violation{Invariant: "MutualTrust", Message: fmt.Sprintf(format, args...)}
}

// heldBundles are the different bundles of a domain that processes have loaded and that the ConfigMap offers. One that holds
// none of the cluster's authorities accepts nobody as it is, and is being repaired. A party does not verify itself.
func (v *view) heldBundles(domain rotation.Domain, except string) [][]*x509.Certificate {
	sets := map[string][]string{}
	add := func(fingerprints []string) { sets[strings.Join(fingerprints, " ")] = fingerprints }
	if domain == rotation.Server {
		add(v.observed.PublicTrust.Anchors)
	}
	for i := range v.observed.Parties {
		for _, pod := range v.observed.Parties[i].Pods {
			if pod.Report != nil && v.observed.Parties[i].Name != except {
				add(pod.Report.Loaded.Of(domain))
			}
		}
	}
	var bundles [][]*x509.Certificate
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		if bundle := v.known(sets[key]); len(bundle) > 0 {
			bundles = append(bundles, bundle)
		}
	}
	return bundles
}

// known are the certificates of the cluster's authorities, and of those from elsewhere, among fingerprints.
func (v *view) known(fingerprints []string) (anchors []*x509.Certificate) {
	for _, stored := range v.authorities {
		if stored.certificate != nil && slices.Contains(fingerprints, stored.facts.Certificate.Fingerprint) {
			anchors = append(anchors, stored.certificate)
		}
	}
	for _, a := range v.foreign {
		if slices.Contains(fingerprints, a.facts.Fingerprint) {
			anchors = append(anchors, a.certificate)
		}
	}
	return anchors
}

// promised are the authorities that each certificate of a chain was issued by, each as the only one that a client holds.
func (v *view) promised(domain rotation.Domain, chain []*x509.Certificate) (bundles [][]*x509.Certificate) {
	for _, stored := range v.authorities {
		if stored.facts.Domain != domain || stored.certificate == nil || !v.observed.Now.Before(stored.certificate.NotAfter) {
			continue
		}
		if slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return pki.Facts(c).IssuerKeyID == stored.facts.Certificate.KeyID }) {
			bundles = append(bundles, []*x509.Certificate{stored.certificate})
		}
	}
	return bundles
}

func subjectsOf(anchors []*x509.Certificate) string {
	texts := make([]string, len(anchors))
	for i, a := range anchors {
		texts[i] = a.Subject.String()
	}
	return strings.Join(texts, " and ")
}
