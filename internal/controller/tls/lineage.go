package tls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// namedGenerations are the certificates in a cluster's bundles that are named like authorities of its own, by generation.
type namedGenerations map[rotation.Domain]map[int]*x509.Certificate

// generationsNamed looks into every bundle of the cluster, also of parties which are no longer wanted.
func (v *view) generationsNamed(secrets []corev1.Secret) namedGenerations {
	secrets = slices.Clone(secrets)
	for _, secret := range v.material {
		secrets = append(secrets, *secret)
	}
	named := namedGenerations{}
	for _, domain := range rotation.Domains() {
		named[domain] = map[int]*x509.Certificate{}
		for i := range secrets {
			if !metav1.IsControlledBy(&secrets[i], v.cluster) {
				continue
			}
			anchors, err := pki.ParseBundle(secrets[i].Data[bundleFiles[domain]])
			if err != nil {
				continue
			}
			for _, anchor := range anchors {
				facts := pki.Facts(anchor)
				if n := generationNamed(v.cluster.Name, domain, facts.Subject); n > 0 && !v.isForeign(domain, facts.Fingerprint) {
					named[domain][n] = anchor
				}
			}
		}
	}
	return named
}

func (n namedGenerations) highest() map[rotation.Domain]int {
	seen := map[rotation.Domain]int{}
	for domain, generations := range n {
		for generation := range generations {
			seen[domain] = max(seen[domain], generation)
		}
	}
	return seen
}

// addLost adds the authorities whose Secret is gone or garbled and that are in use: they cannot sign, and are to be trusted
// on until nothing uses them. That the last leaf of one was published anew does not mean that no pod serves its old one: what
// the operator itself trusts is trusted until it is dropped. Any other certificate in a bundle is nobody's authority.
func (v *view) addLost(named namedGenerations, secrets []corev1.Secret) {
	issuers := map[string]bool{}
	for i := range secrets {
		for _, leaf := range leftovers(&secrets[i]) {
			issuers[leaf.IssuerKeyID] = true
		}
	}
	for _, domain := range rotation.Domains() {
		for generation, certificate := range named[domain] {
			facts := pki.Facts(certificate)
			if !issuers[facts.KeyID] && !v.operatorTrusts(domain, certificate) {
				continue
			}
			stored := v.authority(rotation.Step{Domain: domain, Generation: generation})
			switch {
			case stored == nil:
				v.authorities = append(v.authorities, &storedAuthority{certificate: certificate, facts: rotation.Authority{
					Domain: domain, Generation: generation, Certificate: facts, Problem: rotation.AuthorityLost,
					Message: fmt.Sprintf("the Secret of the %s authority g%d is gone: what is served goes on being served, and a new authority takes its place", domain, generation),
				}})
			case stored.certificate == nil && stored.facts.Problem == rotation.AuthorityUnreadable:
				stored.certificate, stored.facts.Certificate = certificate, facts
			}
		}
	}
	slices.SortFunc(v.authorities, func(a, b *storedAuthority) int {
		if order := strings.Compare(string(a.facts.Domain), string(b.facts.Domain)); order != 0 {
			return order
		}
		return a.facts.Generation - b.facts.Generation
	})
}

// operatorTrusts reports whether a certificate is in the bundle of the operator's own material.
func (v *view) operatorTrusts(domain rotation.Domain, certificate *x509.Certificate) bool {
	secret := v.material[desired.OperatorMaterial(v.cluster.Name)]
	if secret == nil {
		return false
	}
	anchors, err := pki.ParseBundle(secret.Data[bundleFiles[domain]])
	return err == nil && slices.ContainsFunc(anchors, certificate.Equal)
}

// leftovers are the leaves in a material Secret.
func leftovers(secret *corev1.Secret) (leaves []rotation.Leftover) {
	for _, domain := range rotation.Domains() {
		files := pairFiles[domain]
		if pair, err := pki.ParseKeyPair(secret.Data[files.certificate], secret.Data[files.key]); err == nil {
			leaves = append(leaves, rotation.Leftover{Party: secret.Name, Domain: domain, IssuerKeyID: pki.Facts(pair.Leaf()).IssuerKeyID})
		}
	}
	return leaves
}

// index notes the certificates of an authority by fingerprint.
func (s *storedAuthority) index(certificates map[string]*x509.Certificate) {
	for _, c := range []*x509.Certificate{s.certificate, s.forward, s.backward, s.older} {
		if c != nil {
			certificates[pki.Facts(c).Fingerprint] = c
		}
	}
}

// readMarks reads what was decided about an authority from its Secret. What cannot be read was not decided.
func readMarks(secret *corev1.Secret) rotation.Marks {
	marks := rotation.Marks{
		Answered:     secret.Annotations[answersAnnotation],
		RollbackSeen: secret.Annotations[rollbackSeenAnnotation],
		RolledBack:   parseGeneration(secret.Annotations[rolledBackAnnotation]),
		RolledBackBy: rotation.Reason(secret.Annotations[rolledBackByAnnotation]),
	}
	if at, err := time.Parse(timeLayout, secret.Annotations[switchedAnnotation]); err == nil {
		marks.SwitchedAt = at
	}
	for text := range strings.SplitSeq(secret.Annotations[retiredAnnotation], ",") {
		if n := parseGeneration(text); n > 0 {
			marks.Retired = append(marks.Retired, n)
		}
	}
	return marks
}

// marksOf are the annotations that hold what was decided.
func marksOf(secret *corev1.Secret) map[string]string {
	out := map[string]string{}
	for _, key := range []string{answersAnnotation, rollbackSeenAnnotation, switchedAnnotation, rolledBackAnnotation, rolledBackByAnnotation, retiredAnnotation} {
		if value, ok := secret.Annotations[key]; ok {
			out[key] = value
		}
	}
	return out
}

// marksFor are the annotations that note a decision on the Secret of an authority.
func marksFor(v *view, step rotation.Step, on *storedAuthority) map[string]string {
	switch step.Op {
	case rotation.SwitchSigner:
		return map[string]string{switchedAnnotation: v.observed.Now.UTC().Format(timeLayout)}
	case rotation.RollBack:
		marks := map[string]string{
			rolledBackAnnotation:   strconv.Itoa(step.Generation),
			rolledBackByAnnotation: string(step.Reason),
			rollbackSeenAnnotation: v.policy.Rekey[step.Domain].Rollback, // it is answered
		}
		if from := v.authority(step); from != nil {
			marks[answersAnnotation] = from.facts.Answered // or it would be tried again
		}
		return marks
	case rotation.DropOld:
		retired := append(slices.Clone(on.facts.Retired), step.Generation)
		texts := make([]string, len(retired))
		for i, n := range retired {
			texts[i] = strconv.Itoa(n)
		}
		return map[string]string{retiredAnnotation: strings.Join(texts, ",")}
	default:
		return nil
	}
}

var (
	errNoSigner  = errors.New("there is none that can sign")
	errNotAtHand = errors.New("a certificate of the plan is not at hand")
)

// signer returns the authority that signs leaves of a domain.
func (v *view) signer(domain rotation.Domain) (*storedAuthority, error) {
	stored := v.authority(rotation.Step{Domain: domain, Generation: v.plan.Signer(domain)})
	if stored == nil || stored.authority == nil {
		return nil, fmt.Errorf("finding the %s authority: %w", domain, errNoSigner)
	}
	return stored, nil
}

// bundle is what every verifier of a domain is to hold, the cluster's own newest first; nil: what it holds is to be kept.
func (v *view) bundle(domain rotation.Domain) ([]byte, error) {
	wanted := v.plan.Anchors(domain)
	if wanted == nil {
		return nil, nil
	}
	var anchors []*x509.Certificate
	for _, stored := range slices.Backward(v.authorities) { // by generation
		if stored.facts.Domain == domain && slices.Contains(wanted, stored.facts.Certificate.Fingerprint) {
			anchors = append(anchors, stored.certificate)
		}
	}
	for _, a := range v.foreign {
		if a.facts.Domain == domain && slices.Contains(wanted, a.facts.Fingerprint) {
			anchors = append(anchors, a.certificate)
		}
	}
	if len(anchors) != len(wanted) {
		return nil, fmt.Errorf("collecting the %s bundle: %w", domain, errNotAtHand)
	}
	return pki.EncodeBundle(anchors), nil
}

// chain is a leaf with the bridges that go with it.
func (v *view) chain(domain rotation.Domain, leaf *x509.Certificate) ([]*x509.Certificate, error) {
	chain := []*x509.Certificate{leaf}
	for _, fingerprint := range v.plan.Chain(domain, pki.Facts(leaf).IssuerKeyID) {
		bridge := v.certificates[fingerprint]
		if bridge == nil {
			return nil, fmt.Errorf("building a %s chain: %w", domain, errNotAtHand)
		}
		chain = append(chain, bridge)
	}
	return chain, nil
}
