package tls

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// The record is the Secret <cluster>-trust: the anchors from elsewhere that every bundle is to hold, and since when nothing
// needs them. It is to those what the Secrets of the authorities are to the cluster's own.

// foreignAnchor is an anchor from elsewhere with its certificate.
type foreignAnchor struct {
	facts       rotation.Anchor
	certificate *x509.Certificate
	bundled     bool // the record is gone or altered, and a bundle of the cluster holds it
}

// Keys of the record end with these.
const (
	anchorSuffix = ".crt"          // the certificate
	sinceSuffix  = ".admitted-at"  // RFC 3339
	unusedSuffix = ".unused-since" // RFC 3339
)

// recordKey is what the keys of an anchor begin with.
func recordKey(domain rotation.Domain, fingerprint string) string {
	return fmt.Sprintf("%s-%s", domain, fingerprint)
}

// observeRecord takes in what the record says. Where it is gone, or somebody has altered it, what the cluster's bundles hold
// besides its own authorities is as good: somebody may still present what these have issued.
func (r *Reconciler) observeRecord(ctx context.Context, v *view, secrets []corev1.Secret) error {
	name := desired.TrustRecord(v.cluster.Name)
	v.readBundles(secrets)
	isRecord := func(s corev1.Secret) bool { return s.Name == name }
	if len(v.foreign) == 0 && len(referencesOf(v.cluster)) == 0 && !slices.ContainsFunc(secrets, isRecord) {
		return nil // as in most clusters
	}
	secret, _, err := r.findSecret(ctx, v, name, secrets)
	switch {
	case err != nil:
		return err
	case secret == nil:
	case metav1.IsControlledBy(secret, v.cluster):
		v.record = secret
		if secret.Annotations[revisionAnnotation] == pki.Revision(secret.Data) {
			v.foreign = nil // the record is all there is to know
		}
		v.readRecord()
	default:
		v.recordForeign = true
	}
	return nil
}

func (v *view) readRecord() {
	for key, text := range v.record.Data {
		name, isAnchor := strings.CutSuffix(key, anchorSuffix)
		domain, _, _ := strings.Cut(name, "-")
		certificates, err := pki.ParseBundle(text)
		if !isAnchor || err != nil || len(certificates) != 1 {
			continue
		}
		anchor := v.anchor(rotation.Domain(domain), certificates[0])
		anchor.facts.Admitted = true
		anchor.facts.AdmittedAt = timeIn(v.record.Data[name+sinceSuffix])
		anchor.facts.UnusedSince = timeIn(v.record.Data[name+unusedSuffix])
	}
}

// timeIn returns zero for what is no time.
func timeIn(text []byte) time.Time {
	at, err := time.Parse(timeLayout, string(text))
	if err != nil {
		return time.Time{}
	}
	return at
}

func (v *view) readBundles(secrets []corev1.Secret) {
	for i := range secrets {
		if !metav1.IsControlledBy(&secrets[i], v.cluster) {
			continue
		}
		for _, domain := range rotation.Domains() {
			anchors, err := pki.ParseBundle(secrets[i].Data[bundleFiles[domain]])
			if err != nil {
				continue
			}
			for _, certificate := range anchors {
				if generationNamed(v.cluster.Name, domain, pki.Facts(certificate).Subject) == 0 {
					v.anchor(domain, certificate).bundled = true
				}
			}
		}
	}
}

// anchor returns what is known of an anchor from elsewhere, and takes it in when nothing is.
func (v *view) anchor(domain rotation.Domain, certificate *x509.Certificate) *foreignAnchor {
	facts := pki.Facts(certificate)
	for _, known := range v.foreign {
		if known.facts.Domain == domain && known.facts.Fingerprint == facts.Fingerprint {
			return known
		}
	}
	anchor := &foreignAnchor{certificate: certificate, facts: rotation.Anchor{
		Domain: domain, Fingerprint: facts.Fingerprint, Subject: facts.Subject, NotAfter: facts.NotAfter,
	}}
	v.foreign = append(v.foreign, anchor)
	return anchor
}

// isForeign reports whether a certificate is an anchor from elsewhere.
func (v *view) isForeign(domain rotation.Domain, fingerprint string) bool {
	return slices.ContainsFunc(v.foreign, func(a *foreignAnchor) bool {
		return a.facts.Domain == domain && a.facts.Fingerprint == fingerprint
	})
}

// foreignAnchors are the certificates of a domain's anchors from elsewhere.
func (v *view) foreignAnchors(domain rotation.Domain) (anchors []*x509.Certificate) {
	for _, a := range v.foreign {
		if a.facts.Domain == domain {
			anchors = append(anchors, a.certificate)
		}
	}
	return anchors
}

// foreignFacts are the facts of all of them, sorted.
func (v *view) foreignFacts() (facts []rotation.Anchor) {
	slices.SortFunc(v.foreign, func(a, b *foreignAnchor) int {
		return strings.Compare(recordKey(a.facts.Domain, a.facts.Fingerprint), recordKey(b.facts.Domain, b.facts.Fingerprint))
	})
	for _, a := range v.foreign {
		a.facts.Admitted = a.facts.Admitted || a.bundled && (!a.facts.Wanted || v.recordForeign) // what is wanted is noted anew
		a.facts.Held = a.facts.Held || v.recordForeign                                           // nothing can be noted
		facts = append(facts, a.facts)
	}
	return facts
}

// note writes the record as it is after a step: an anchor is admitted, or unused from now on, or dropped.
func (r *Reconciler) note(ctx context.Context, v *view, step rotation.Step) error {
	for _, a := range v.foreign {
		if a.facts.Domain != step.Domain || a.facts.Fingerprint != step.Anchor {
			continue
		}
		switch step.Op {
		case rotation.AdmitAnchor:
			if !a.facts.Admitted {
				a.facts.AdmittedAt = v.observed.Now
			}
			a.facts.Admitted, a.facts.UnusedSince = true, time.Time{}
		case rotation.NoteUnused:
			a.facts.UnusedSince = v.observed.Now
		default: // DropAnchor
			a.facts.Admitted = false
		}
	}
	record := r.secret(v, desired.TrustRecord(v.cluster.Name), v.recordData())
	metav1.SetMetaDataAnnotation(&record.ObjectMeta, revisionAnnotation, pki.Revision(record.Data)) // tells what somebody altered
	if err := r.storeRecord(ctx, v, record); err != nil {
		return err
	}
	v.record = record
	r.event(v, eventNormal, string(step.Op), "%s %s (%s)", step.Message, map[rotation.Op]string{
		rotation.AdmitAnchor: "is trusted from now on, in the " + string(step.Domain) + " domain",
		rotation.NoteUnused:  "vouches for nothing any more that is presented in the " + string(step.Domain) + " domain",
		rotation.DropAnchor:  "is dropped from every bundle of the " + string(step.Domain) + " domain",
	}[step.Op], step.Reason)
	return nil
}

func (v *view) recordData() map[string][]byte {
	data := map[string][]byte{}
	for _, a := range v.foreign {
		if !a.facts.Admitted {
			continue
		}
		key := recordKey(a.facts.Domain, a.facts.Fingerprint)
		data[key+anchorSuffix] = pki.EncodeBundle([]*x509.Certificate{a.certificate})
		for suffix, at := range map[string]time.Time{sinceSuffix: a.facts.AdmittedAt, unusedSuffix: a.facts.UnusedSince} {
			if !at.IsZero() {
				data[key+suffix] = []byte(at.UTC().Format(timeLayout))
			}
		}
	}
	return data
}

// storeRecord replaces exactly the record that was observed, or creates it.
func (r *Reconciler) storeRecord(ctx context.Context, v *view, record *corev1.Secret) error {
	if v.record == nil {
		return r.create(ctx, v, record)
	}
	return r.update(ctx, v.record, record)
}
