package gather

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
func readAuthorities(v *look, named namedGenerations, secrets []corev1.Secret) []*snapshot.StoredAuthority {
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
	for _, stored := range found {
		settle(v, stored, named[stored.Facts.Domain][stored.Facts.Generation])
	}
	v.Memory.Each(v.Cluster.UID, func(domain facts.Domain, generation int, authority material.Remembered) {
		name := desired.AuthoritySecret(v.Cluster.Name, string(domain), generation)
		if found[name] == nil {
			found[name] = &snapshot.StoredAuthority{Facts: facts.Authority{Domain: domain, Generation: generation, Remembered: true}}
			read(found[name], authority)
		} else if stored := found[name]; stored.Original == nil && stored.Facts.Problem == reason.AuthorityUnreadable { // the copy is damaged
			refuse(stored, "", "")
			read(stored, authority)
		}
	})
	out := make([]*snapshot.StoredAuthority, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[name])
	}
	return out
}

// add takes in one of the two Secrets of an authority.
func add(v *look, s *snapshot.StoredAuthority, secret *corev1.Secret) {
	store := facts.Store{Present: true, Deleting: !secret.DeletionTimestamp.IsZero()}
	if strings.HasSuffix(secret.Name, material.CopySuffix) {
		s.Twin, s.Facts.Copy = secret, store
	} else {
		s.Original, s.Facts.Original = secret, store
	}
	if slices.Contains(secret.Finalizers, material.AuthorityFinalizer) {
		v.Finalized = append(v.Finalized, secret)
	}
}

// settle says what an authority is worth from its two Secrets and what is remembered of it. The original counts, unless only the
// other one holds what the cluster's bundles do.
func settle(v *look, s *snapshot.StoredAuthority, bundled *x509.Certificate) {
	var usable []material.Remembered
	var parsed []*pki.Authority
	var created []time.Time
	for _, secret := range []*corev1.Secret{s.Original, s.Twin} {
		if secret == nil {
			continue
		}
		if !v.belongsAsAuthority(secret) {
			refuse(s, reason.AuthorityForeign, kube.Judge(secret, v.Claimant()).Message("Secret "+secret.Name)+finalizersOf(secret))
			return
		}
		authority, err := parseBeside(v, secret, usable, parsed)
		if err != nil {
			refuse(s, reason.AuthorityUnreadable, fmt.Sprintf("Secret %s holds no usable authority (%s): restore it from a backup", secret.Name, err))
			continue
		}
		parsed = append(parsed, authority)
		usable = append(usable, material.Remembered{Data: secret.Data, Marks: material.MarksOf(secret.Annotations)})
		created = append(created, secret.CreationTimestamp.Time)
	}
	if len(usable) == 0 {
		return
	}
	refuse(s, "", "")
	counts := 0
	if len(usable) == 2 && !holds(usable[0], usable[1].Data[material.AuthorityCertificate]) {
		s.Differ = true
		if bundled != nil && !holds(usable[0], pki.EncodeBundle([]*x509.Certificate{bundled})) && holds(usable[1], pki.EncodeBundle([]*x509.Certificate{bundled})) {
			counts = 1
		}
	}
	readParsed(s, usable[counts], parsed[counts])
	s.Facts.Created = created[counts]
	v.Memory.Keep(client.ObjectKeyFromObject(v.Cluster), v.Cluster.UID, s.Facts.Domain, s.Facts.Generation, usable[counts])
}

// parseBeside parses the authority in a Secret, unless its twin was found usable and holds the same.
func parseBeside(v *look, secret *corev1.Secret, usable []material.Remembered, parsed []*pki.Authority) (*pki.Authority, error) {
	if len(usable) == 1 && isTwin(usable[0], secret) {
		return parsed[0], nil
	}
	return v.Verdicts.ParseAuthority(client.ObjectKeyFromObject(v.Cluster), secret)
}

// isTwin reports whether a Secret holds the same authority as another one, so that it need not be parsed.
func isTwin(stored material.Remembered, secret *corev1.Secret) bool {
	return holds(stored, secret.Data[material.AuthorityCertificate]) && bytes.Equal(stored.Data[material.AuthorityKey], secret.Data[material.AuthorityKey])
}

// holds reports whether what is stored has this certificate.
func holds(stored material.Remembered, certificate []byte) bool {
	return bytes.Equal(stored.Data[material.AuthorityCertificate], certificate)
}

// read takes in what a Secret of an authority holds, or held.
func read(s *snapshot.StoredAuthority, stored material.Remembered) {
	authority, err := pki.ParseAuthority(stored.Data[material.AuthorityCertificate], stored.Data[material.AuthorityKey])
	if err == nil {
		readParsed(s, stored, authority)
	}
}

// readParsed is read for an authority that was parsed from the same content.
func readParsed(s *snapshot.StoredAuthority, stored material.Remembered, authority *pki.Authority) {
	s.Data, s.Marks = stored.Data, stored.Marks
	s.Authority, s.Certificate = authority, authority.Certificate
	s.Facts.Certificate = pki.Facts(authority.Certificate)
	s.Facts.Marks = material.ReadMarks(stored.Marks)
	s.Forward, s.Facts.Forward = material.ReadBridge(stored.Data[material.ForwardBridge], 0)
	s.Older, s.Facts.Older = material.ReadBridge(stored.Data[material.ForwardBridge], 1)
	s.Backward, s.Facts.Backward = material.ReadBridge(stored.Data[material.BackwardBridge], 0)
}

// finalizersOf says which finalizers hold a Secret that is being deleted.
func finalizersOf(secret *corev1.Secret) string {
	if secret.DeletionTimestamp.IsZero() || len(secret.Finalizers) == 0 {
		return ""
	}
	return fmt.Sprintf(" (finalizers %q)", secret.Finalizers)
}

func refuse(s *snapshot.StoredAuthority, code reason.Code, message string) {
	s.Facts.Problem, s.Facts.Message = code, message
}

// gatherAuthorities reads the authorities. Those that are in use, or are to be
// made, are looked for by name: a list by label does not return a Secret without labels.
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
	v.Authorities = readAuthorities(v, named, secrets)
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
