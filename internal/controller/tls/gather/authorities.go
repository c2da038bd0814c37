package gather

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/delivery/kube"
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
		name := strings.TrimSuffix(secret.Name, material.CopySuffix)
		stored := found[name]
		if stored == nil {
			stored = &snapshot.StoredAuthority{Facts: facts.Authority{Domain: domain, Generation: generation}}
			found[name] = stored
		}
		add(v, stored, secret)
	}
	v.Memory.Each(v.Cluster.UID, func(domain facts.Domain, generation int, authority material.Remembered) {
		name := desired.AuthoritySecret(v.Cluster.Name, string(domain), generation)
		if found[name] == nil {
			found[name] = &snapshot.StoredAuthority{Facts: facts.Authority{Domain: domain, Generation: generation, Remembered: true}}
			read(found[name], authority)
		}
	})
	out := make([]*snapshot.StoredAuthority, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[name])
	}
	return out
}

// add takes in one of the two Secrets. The original counts when both can be read.
func add(v *look, s *snapshot.StoredAuthority, secret *corev1.Secret) {
	store := facts.Store{Present: true, Deleting: !secret.DeletionTimestamp.IsZero()}
	twin := strings.HasSuffix(secret.Name, material.CopySuffix)
	if twin {
		s.Twin, s.Facts.Copy = secret, store
	} else {
		s.Original, s.Facts.Original = secret, store
	}
	if finalized(secret) {
		v.Finalized = append(v.Finalized, secret)
	}
	if verdict := kube.Judge(secret, v.Claimant()); !verdict.Ours() && !v.takeBackAuthority(secret, verdict) {
		refuse(s, reason.AuthorityForeign, verdict.Message("Secret "+secret.Name)+finalizersOf(secret))
		return
	}
	_, err := pki.ParseAuthority(secret.Data[material.AuthorityCertificate], secret.Data[material.AuthorityKey])
	switch {
	case err == nil && (s.Authority == nil || !twin):
		remembered := material.Remembered{Data: secret.Data, Marks: material.MarksOf(secret.Annotations)}
		read(s, remembered)
		s.Facts.Created = secret.CreationTimestamp.Time
		v.Memory.Keep(client.ObjectKeyFromObject(v.Cluster), v.Cluster.UID, s.Facts.Domain, s.Facts.Generation, remembered)
		if s.Facts.Problem == reason.AuthorityUnreadable {
			s.Facts.Problem, s.Facts.Message = "", ""
		}
	case err != nil && s.Authority == nil:
		refuse(s, reason.AuthorityUnreadable, fmt.Sprintf("Secret %s holds no usable authority (%s): restore it from a backup", secret.Name, err))
	}
}

// read takes in what a Secret of an authority holds, or held.
func read(s *snapshot.StoredAuthority, stored material.Remembered) {
	authority, err := pki.ParseAuthority(stored.Data[material.AuthorityCertificate], stored.Data[material.AuthorityKey])
	if err != nil {
		return
	}
	s.Data, s.Marks = stored.Data, stored.Marks
	s.Authority, s.Certificate = authority, authority.Certificate
	s.Facts.Certificate = pki.Facts(authority.Certificate)
	s.Facts.Marks = material.ReadMarks(stored.Marks)
	s.Forward, s.Facts.Forward = material.ReadBridge(stored.Data[material.ForwardBridge], 0)
	s.Older, s.Facts.Older = material.ReadBridge(stored.Data[material.ForwardBridge], 1)
	s.Backward, s.Facts.Backward = material.ReadBridge(stored.Data[material.BackwardBridge], 0)
}

// finalized reports whether a Secret has the finalizer that earlier versions of the operator gave to authorities.
func finalized(secret *corev1.Secret) bool {
	return slices.Contains(secret.Finalizers, material.AuthorityFinalizer)
}

// finalizersOf says which finalizers hold a Secret that is being deleted.
func finalizersOf(secret *corev1.Secret) string {
	if secret.DeletionTimestamp.IsZero() || len(secret.Finalizers) == 0 {
		return ""
	}
	return fmt.Sprintf(" (finalizers %q)", secret.Finalizers)
}

// takeBackAuthority reports whether the Secret of an authority may be taken back: whose it is allows that, and certificate, key
// and generation agree.
func (v *look) takeBackAuthority(secret *corev1.Secret, verdict kube.Verdict) bool {
	domain, generation := material.AuthorityNamed(v.Cluster.Name, secret.Name)
	authority, err := pki.ParseAuthority(secret.Data[material.AuthorityCertificate], secret.Data[material.AuthorityKey])
	if !verdict.Takeable() || err != nil ||
		material.GenerationNamed(v.Cluster.Name, domain, pki.Facts(authority.Certificate).Subject) != generation {
		return false
	}
	v.unowned("Secret", secret)
	return true
}

// unowned notes an object that is to be taken back.
func (v *look) unowned(kind string, object client.Object) {
	name := facts.Object{Kind: kind, Name: object.GetName()}
	if v.Unowned[name] == nil {
		v.Unowned[name] = object
		v.Observed.Unowned = append(v.Observed.Unowned, name)
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
	}
	return found, nil
}
