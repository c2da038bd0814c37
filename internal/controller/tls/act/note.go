package act

import (
	"context"
	"crypto/x509"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// admitAnchor notes that an external anchor is trusted from now on.
func admitAnchor(ctx context.Context, v *round, step plan.AdmitAnchor) error {
	return note(ctx, v, eventAnchorAdmitted, step.AnchorStep, "is trusted from now on, in the "+string(step.Domain)+" domain", func(a *facts.Anchor) {
		if !a.Admitted {
			a.AdmittedAt = v.Observed.Now
		}
		a.Admitted, a.UnusedSince = true, time.Time{}
	})
}

// noteUnused notes since when nothing needs an external anchor.
func noteUnused(ctx context.Context, v *round, step plan.NoteUnused) error {
	return note(ctx, v, eventAnchorUnused, step.AnchorStep, "vouches for nothing any more that is presented in the "+string(step.Domain)+" domain", func(a *facts.Anchor) {
		a.UnusedSince = v.Observed.Now
	})
}

// dropAnchor notes that an external anchor is trusted no longer.
func dropAnchor(ctx context.Context, v *round, step plan.DropAnchor) error {
	return note(ctx, v, eventAnchorDropped, step.AnchorStep, "is dropped from every bundle of the "+string(step.Domain)+" domain", func(a *facts.Anchor) {
		a.Admitted = false
	})
}

// note writes the record as it is after a step.
func note(ctx context.Context, v *round, event string, step plan.AnchorStep, says string, change func(*facts.Anchor)) error {
	for _, a := range v.External {
		if a.Facts.Domain == step.Domain && a.Facts.Fingerprint == step.Anchor {
			change(&a.Facts)
		}
	}
	record := secret(v, desired.TrustRecord(v.Cluster.Name), recordData(v))
	metav1.SetMetaDataAnnotation(&record.ObjectMeta, material.RevisionAnnotation, pki.Revision(record.Data)) // shows that it was altered
	if err := storeRecord(ctx, v, record); err != nil {
		return err
	}
	v.Record = record
	sendEvent(v, eventNormal, event, "%s %s (%s)", step.Subject, says, step.Reason)
	return nil
}

func recordData(v *round) map[string][]byte {
	data := map[string][]byte{}
	for _, a := range v.External {
		if !a.Facts.Admitted {
			continue
		}
		key := material.RecordKey(a.Facts.Domain, a.Facts.Fingerprint)
		data[key+material.AnchorSuffix] = pki.EncodeBundle([]*x509.Certificate{a.Certificate})
		for suffix, at := range map[string]time.Time{material.SinceSuffix: a.Facts.AdmittedAt, material.UnusedSuffix: a.Facts.UnusedSince} {
			if !at.IsZero() {
				data[key+suffix] = []byte(at.UTC().Format(material.TimeLayout))
			}
		}
	}
	return data
}

// storeRecord replaces exactly the record that was observed, or creates it.
func storeRecord(ctx context.Context, v *round, record *corev1.Secret) error {
	if v.Record == nil {
		return create(ctx, v, record)
	}
	return update(ctx, v, v.Record, record)
}
