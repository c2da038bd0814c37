package material

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Verdicts remembers what Secrets are worth, so that one which has not changed is neither parsed nor verified again in each round. A verdict
// is of one version of one Secret, for what is wanted of it, and holds until the next instant at which something in the Secret begins
// or ends to be valid.
type Verdicts struct {
	mu       sync.Mutex
	clusters map[types.NamespacedName]map[string]verdict
}

// verdict is what was found.
type verdict struct {
	uid         types.UID
	version     string
	wants       string
	from, until time.Time // until is not part of it; zero: it holds for ever
	material    facts.Material
	authority   *pki.Authority
}

// NewVerdicts remembers nothing yet.
func NewVerdicts() *Verdicts {
	return &Verdicts{clusters: map[types.NamespacedName]map[string]verdict{}}
}

// Inspect is the function of that name. What it returns is not to be changed.
func (v *Verdicts) Inspect(cluster types.NamespacedName, party *facts.Party, secret *corev1.Secret, now time.Time) facts.Material {
	wants := wantsOf(party)
	if known, ok := v.known(cluster, secret, wants, now); ok {
		return known.material
	}
	found := Inspect(party, secret, now)
	v.keep(cluster, secret, verdict{wants: wants, from: now, until: nextBoundary(secret, now), material: found})
	return found
}

// ParseAuthority parses the authority in a Secret; see pki.ParseAuthority. One that cannot be used is looked at each time.
func (v *Verdicts) ParseAuthority(cluster types.NamespacedName, secret *corev1.Secret) (*pki.Authority, error) {
	const wants = "authority"
	if known, ok := v.known(cluster, secret, wants, time.Time{}); ok {
		return known.authority, nil
	}
	authority, err := pki.ParseAuthority(secret.Data[AuthorityCertificate], secret.Data[AuthorityKey])
	if err == nil {
		v.keep(cluster, secret, verdict{wants: wants, authority: authority})
	}
	return authority, err
}

// KeepOnly forgets the verdicts on other Secrets of a cluster than these; none: on all.
func (v *Verdicts) KeepOnly(cluster types.NamespacedName, secrets []corev1.Secret) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name := range v.clusters[cluster] {
		if !slices.ContainsFunc(secrets, func(s corev1.Secret) bool { return s.Name == name }) {
			delete(v.clusters[cluster], name)
		}
	}
	if len(v.clusters[cluster]) == 0 {
		delete(v.clusters, cluster)
	}
}

// known returns the verdict that holds.
func (v *Verdicts) known(cluster types.NamespacedName, secret *corev1.Secret, wants string, now time.Time) (verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, ok := v.clusters[cluster][secret.Name]
	holds := ok && found.uid == secret.UID && found.version == secret.ResourceVersion && found.wants == wants &&
		!now.Before(found.from) && (found.until.IsZero() || now.Before(found.until))
	return found, holds
}

func (v *Verdicts) keep(cluster types.NamespacedName, secret *corev1.Secret, found verdict) {
	if secret.ResourceVersion == "" || secret.UID == "" {
		return // it is nothing that is stored
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.clusters[cluster] == nil {
		v.clusters[cluster] = map[string]verdict{}
	}
	found.uid, found.version = secret.UID, secret.ResourceVersion
	v.clusters[cluster][secret.Name] = found
}

// wantsOf is all of a party that an inspection depends on.
func wantsOf(party *facts.Party) string {
	parts := []string{party.Kind.Name}
	for _, want := range party.Wants {
		parts = append(parts, string(want.Domain))
	}
	return strings.Join(parts, " ")
}

// nextBoundary is the first instant, now or later, at which a certificate or a list in a Secret begins or ends to be valid; zero: there
// is none. One that is now counts: what ends then is judged otherwise a moment later.
func nextBoundary(secret *corev1.Secret, now time.Time) (next time.Time) {
	for _, content := range secret.Data {
		for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
			for _, at := range boundariesOf(block) {
				if !at.IsZero() && !at.Before(now) && (next.IsZero() || at.Before(next)) {
					next = at
				}
			}
		}
	}
	return next
}

func boundariesOf(block *pem.Block) []time.Time {
	switch block.Type {
	case "CERTIFICATE":
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			return []time.Time{c.NotBefore, c.NotAfter}
		}
	case "X509 CRL":
		if l, err := x509.ParseRevocationList(block.Bytes); err == nil {
			return []time.Time{l.ThisUpdate, l.NextUpdate}
		}
	}
	return nil
}
