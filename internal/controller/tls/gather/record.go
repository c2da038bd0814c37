package gather

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// gatherRecord takes in what the record says. Where it is gone, or was altered, what the cluster's bundles hold
// besides its own authorities is as good: a party may still present a certificate of these.
func gatherRecord(ctx context.Context, v *look) error {
	name := desired.TrustRecord(v.Cluster.Name)
	readBundles(v)
	isRecord := func(s corev1.Secret) bool { return s.Name == name }
	if len(v.External) == 0 && len(wanted.References(v.Cluster)) == 0 && !slices.ContainsFunc(v.secrets, isRecord) {
		return nil // as in most clusters
	}
	secret, _, err := findSecret(ctx, v, name)
	switch {
	case err != nil:
		return err
	case secret == nil:
	case v.belongs(secretKind, secret):
		v.Record = secret
		if secret.Annotations[material.RevisionAnnotation] == pki.Revision(secret.Data) {
			v.External = nil // the record is all there is to know
		}
		readRecord(v)
	default:
		v.RecordNotOwned = true
	}
	return nil
}

func readRecord(v *look) {
	for key, text := range v.Record.Data {
		name, isAnchor := strings.CutSuffix(key, material.AnchorSuffix)
		domain, _, _ := strings.Cut(name, "-")
		certificates, err := pki.ParseBundle(text)
		if !isAnchor || err != nil || len(certificates) != 1 {
			continue
		}
		anchor := anchorOf(v, facts.Domain(domain), certificates[0])
		anchor.Facts.Admitted = true
		anchor.Facts.AdmittedAt = material.TimeIn(v.Record.Data[name+material.SinceSuffix])
		anchor.Facts.UnusedSince = material.TimeIn(v.Record.Data[name+material.UnusedSuffix])
	}
}

func readBundles(v *look) {
	for i := range v.secrets {
		if !kube.Judge(&v.secrets[i], v.Claimant()).Belongs() {
			continue
		}
		for _, domain := range facts.Domains() {
			anchors, err := v.bundles.parse(v.secrets[i].Data[party.Mounted.Bundle(domain)])
			if err != nil {
				continue
			}
			for _, certificate := range anchors {
				if material.GenerationNamed(v.Cluster.Name, domain, pki.Facts(certificate).Subject) == 0 {
					anchorOf(v, domain, certificate).Bundled = true
				}
			}
		}
	}
}

// anchorOf returns what is known of an anchor from elsewhere, and takes it in when nothing is.
func anchorOf(v *look, domain facts.Domain, certificate *x509.Certificate) *snapshot.ExternalAnchor {
	details := pki.Facts(certificate)
	for _, known := range v.External {
		if known.Facts.Domain == domain && known.Facts.Fingerprint == details.Fingerprint {
			return known
		}
	}
	anchor := &snapshot.ExternalAnchor{Certificate: certificate, Facts: facts.Anchor{
		Domain: domain, Fingerprint: details.Fingerprint, Subject: details.Subject, NotAfter: details.NotAfter,
	}}
	v.External = append(v.External, anchor)
	return anchor
}

// foreignFacts are the facts of all of them, sorted.
func foreignFacts(v *look) (details []facts.Anchor) {
	slices.SortFunc(v.External, func(a, b *snapshot.ExternalAnchor) int {
		return strings.Compare(material.RecordKey(a.Facts.Domain, a.Facts.Fingerprint), material.RecordKey(b.Facts.Domain, b.Facts.Fingerprint))
	})
	for _, a := range v.External {
		a.Facts.Admitted = a.Facts.Admitted || a.Bundled && (!a.Facts.Wanted || v.RecordNotOwned) // what is wanted is noted anew
		a.Facts.Held = a.Facts.Held || v.RecordNotOwned                                           // nothing can be noted
		details = append(details, a.Facts)
	}
	return details
}
