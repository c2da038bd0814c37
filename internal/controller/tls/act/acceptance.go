package act

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// acceptance is the proof that every verifier accepts the material that is about to be published: material is stored only with one.
// Only accepted makes it, by verifying the chains themselves, and not the facts about them that the plan was made from.
type acceptance struct{ revision string }

// accepted verifies what a party is to present, at least as strictly as OpenSSL does, against every bundle that a verifier is
// known to hold, and against each authority alone that the chain claims to lead to.
func accepted(v *round, step plan.Publish, data map[string][]byte) (acceptance, error) {
	files := &v.Party(step.Party).Kind.Files
	for _, domain := range step.Reissue {
		keys := files.Leaf(domain)
		pair, err := pki.ParseKeyPair(data[keys.Certificate], data[keys.Key]) // which checks that the key belongs to it
		if err != nil {
			return acceptance{}, refusedProof("the new %s leaf of %s cannot be used: %s", domain, step.Party, err)
		}
		for _, held := range different(append(heldBundles(v, domain, step.Party), promised(v, domain, pair.Chain)...)) {
			err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: v.Observed.Now, Usage: domain.Usage()})
			if err != nil {
				return acceptance{}, refusedProof("a verifier that holds %s would refuse the new %s leaf of %s: %s", subjectsOf(held), domain, step.Party, err)
			}
		}
	}
	if err := customsAccepted(v, step, data); err != nil {
		return acceptance{}, err
	}
	return acceptance{revision: pki.Revision(data)}, nil
}

// customsAccepted verifies the custom certificates that a party is to present from now on against every bundle that is held,
// unless spec.tls.adoption is Immediate.
func customsAccepted(v *round, step plan.Publish, data map[string][]byte) error {
	files := &v.Party(step.Party).Kind.Files
	for _, domain := range step.Adopt {
		if wanted.Adoption(v.Cluster) == v1beta1.AdoptImmediate {
			continue
		}
		keys := files.Process(domain)
		pair, err := pki.ParseKeyPair(data[keys.Certificate], data[keys.Key])
		if err != nil {
			return refusedProof("the custom %s certificate of %s cannot be used: %s", domain, step.Party, err)
		}
		for _, held := range heldBundles(v, domain, step.Party) {
			err := pki.Verify(pki.VerifyRequest{Chain: pair.Chain, Anchors: held, At: v.Observed.Now, Usage: domain.Usage(), Lenient: true})
			if err != nil {
				return refusedProof("a verifier that holds %s would refuse the custom %s certificate of %s: %s", subjectsOf(held), domain, step.Party, err)
			}
		}
	}
	return nil
}

func refusedProof(format string, args ...any) error {
	return &invariant.Violation{Invariant: "MutualTrust", Message: fmt.Sprintf(format, args...)}
}

// heldBundles are the different bundles of a domain that processes have loaded and that the ConfigMap offers. One that holds
// none of the cluster's authorities accepts no certificate of the cluster, and is being repaired. A party does not verify itself.
func heldBundles(v *round, domain facts.Domain, except string) [][]*x509.Certificate {
	sets := map[string][]string{}
	add := func(fingerprints []string) { sets[strings.Join(fingerprints, " ")] = fingerprints }
	if domain == facts.Server {
		add(v.Observed.PublicTrust.Anchors)
	}
	for i := range v.Observed.Parties {
		for _, pod := range v.Observed.Parties[i].Pods {
			if pod.Report != nil && v.Observed.Parties[i].Name != except {
				add(pod.Report.Loaded.Of(domain))
			}
		}
	}
	var bundles [][]*x509.Certificate
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		if bundle := known(v, sets[key]); len(bundle) > 0 {
			bundles = append(bundles, bundle)
		}
	}
	return bundles
}

// different leaves out a bundle that holds the same certificates, in the same order, as one before it.
func different(bundles [][]*x509.Certificate) (out [][]*x509.Certificate) {
	for _, bundle := range bundles {
		same := func(other []*x509.Certificate) bool {
			return slices.EqualFunc(bundle, other, func(a, b *x509.Certificate) bool { return a.Equal(b) })
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, bundle)
		}
	}
	return out
}

// known are the certificates of the cluster's authorities, and of those from elsewhere, among fingerprints.
func known(v *round, fingerprints []string) (anchors []*x509.Certificate) {
	for _, stored := range v.Authorities {
		if stored.Certificate != nil && slices.Contains(fingerprints, stored.Facts.Certificate.Fingerprint) {
			anchors = append(anchors, stored.Certificate)
		}
	}
	for _, a := range v.External {
		if slices.Contains(fingerprints, a.Facts.Fingerprint) {
			anchors = append(anchors, a.Certificate)
		}
	}
	return anchors
}

// promised are the authorities that each certificate of a chain was issued by, each as the only one that a client holds.
func promised(v *round, domain facts.Domain, chain []*x509.Certificate) (bundles [][]*x509.Certificate) {
	for _, stored := range v.Authorities {
		if stored.Facts.Domain != domain || stored.Certificate == nil || !v.Observed.Now.Before(stored.Certificate.NotAfter) {
			continue
		}
		if slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return pki.Facts(c).IssuerKeyID == stored.Facts.Certificate.KeyID }) {
			bundles = append(bundles, []*x509.Certificate{stored.Certificate})
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
