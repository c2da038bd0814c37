package gather

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// readAuthorities finds the generations among a cluster's Secrets, by name:
// labels can be taken away.
func readAuthorities(v *look, secrets []corev1.Secret) []*snapshot.StoredAuthority {
	found := map[string]*snapshot.StoredAuthority{}
	for i := range secrets {
		secret := &secrets[i]
		domain, generation := material.AuthorityNamed(v.Cluster.Name, secret.Name)
		if generation == 0 {
			continue
		}
		if isOrphan(v.Cluster, secret) {
			v.Orphans = append(v.Orphans, secret)
			continue
		}
		name := strings.TrimSuffix(secret.Name, material.CopySuffix)
		stored := found[name]
		if stored == nil {
			stored = &snapshot.StoredAuthority{Facts: facts.Authority{Domain: domain, Generation: generation}}
			found[name] = stored
		}
		add(stored, v, secret)
	}
	out := make([]*snapshot.StoredAuthority, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[name])
	}
	return out
}

// isOrphan reports whether an authority's Secret was an earlier cluster's of the
// same name, and went with it: only its finalizer is left.
func isOrphan(cluster *v1beta1.PostgresCluster, secret *corev1.Secret) bool {
	owner := metav1.GetControllerOf(secret)
	return !secret.DeletionTimestamp.IsZero() && owner != nil && owner.UID != cluster.UID &&
		owner.Kind == desired.OwnerReference(cluster).Kind && owner.Name == cluster.Name
}

// add takes in one of the two Secrets. The original counts when both can be read.
func add(s *snapshot.StoredAuthority, v *look, secret *corev1.Secret) {
	store := facts.Store{Present: true, Deleting: !secret.DeletionTimestamp.IsZero()}
	twin := strings.HasSuffix(secret.Name, material.CopySuffix)
	if twin {
		s.Twin, s.Facts.Copy = secret, store
	} else {
		s.Original, s.Facts.Original = secret, store
	}
	if !metav1.IsControlledBy(secret, v.Cluster) {
		refuse(s, reason.AuthorityForeign, fmt.Sprintf("Secret %s does not belong to this cluster: rename or delete it", secret.Name))
		return
	}
	authority, err := pki.ParseAuthority(secret.Data[material.AuthorityCertificate], secret.Data[material.AuthorityKey])
	switch {
	case err == nil && (s.Authority == nil || !twin):
		s.Authority, s.Certificate = authority, authority.Certificate
		s.Facts.Certificate = pki.Facts(authority.Certificate)
		s.Facts.Marks, s.Facts.Created = material.ReadMarks(secret), secret.CreationTimestamp.Time
		s.Forward, s.Facts.Forward = material.ReadBridge(secret.Data[material.ForwardBridge], 0)
		s.Older, s.Facts.Older = material.ReadBridge(secret.Data[material.ForwardBridge], 1)
		s.Backward, s.Facts.Backward = material.ReadBridge(secret.Data[material.BackwardBridge], 0)
		if s.Facts.Problem == reason.AuthorityUnreadable {
			s.Facts.Problem, s.Facts.Message = "", ""
		}
	case err != nil && s.Authority == nil:
		refuse(s, reason.AuthorityUnreadable, fmt.Sprintf("Secret %s holds no usable authority (%s): restore it from a backup", secret.Name, err))
	}
}

func refuse(s *snapshot.StoredAuthority, code reason.Code, message string) {
	s.Facts.Problem, s.Facts.Message = code, message
}

// gatherAuthorities reads the authorities. Those that are in use, or are to be
// made, are looked for by name: a Secret without labels is in nobody's list.
func gatherAuthorities(ctx context.Context, v *look) error {
	named := generationsNamed(v)
	v.Observed.GenerationSeen = named.highest()
	secrets := slices.Clone(v.secrets)
	for _, domain := range facts.Domains() {
		generations := slices.Sorted(maps.Keys(named[domain]))
		if len(generations) == 0 {
			generations = []int{1}
		}
		for _, generation := range generations {
			found, err := findAuthority(ctx, v, desired.AuthoritySecret(v.Cluster.Name, string(domain), generation))
			if err != nil {
				return err
			}
			secrets = append(secrets, found...)
		}
	}
	v.Authorities = readAuthorities(v, secrets)
	addLost(v, named, secrets)
	for _, stored := range v.Authorities {
		v.Observed.Authorities = append(v.Observed.Authorities, stored.Facts)
		index(stored, v.Known)
	}
	return nil
}

// findAuthority returns the Secrets of an authority that are not among those that were listed.
func findAuthority(ctx context.Context, v *look, name string) (found []corev1.Secret, err error) {
	for _, name := range []string{name, name + material.CopySuffix} {
		secret, listed, err := findSecret(ctx, v, name)
		if err != nil {
			return nil, err
		}
		if secret != nil && !listed {
			found = append(found, *secret)
		}
		if secret != nil && secret.DeletionTimestamp.IsZero() {
			break // a copy does not matter
		}
	}
	return found, nil
}
