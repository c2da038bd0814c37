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
	"pgtls.dev/pgtls/internal/rotation"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// note writes the record as it is after a step: an anchor is admitted, or unused from now on, or dropped.
func note(ctx context.Context, v *round, step plan.Step) error {
	for _, a := range v.Foreign {
		if a.Facts.Domain != step.Domain || a.Facts.Fingerprint != step.Anchor {
			continue
		}
		switch step.Op {
		case plan.AdmitAnchor:
			if !a.Facts.Admitted {
				a.Facts.AdmittedAt = v.Observed.Now
			}
			a.Facts.Admitted, a.Facts.UnusedSince = true, time.Time{}
		case plan.NoteUnused:
			a.Facts.UnusedSince = v.Observed.Now
		default: // DropAnchor
			a.Facts.Admitted = false
		}
	}
	record := secret(v, desired.TrustRecord(v.Cluster.Name), recordData(v))
	metav1.SetMetaDataAnnotation(&record.ObjectMeta, material.RevisionAnnotation, pki.Revision(record.Data)) // tells what somebody altered
	if err := storeRecord(ctx, v, record); err != nil {
		return err
	}
	v.Record = record
	sendEvent(v, eventNormal, string(step.Op), "%s %s (%s)", step.Message, map[rotation.Op]string{
		plan.AdmitAnchor: "is trusted from now on, in the " + string(step.Domain) + " domain",
		plan.NoteUnused:  "vouches for nothing any more that is presented in the " + string(step.Domain) + " domain",
		plan.DropAnchor:  "is dropped from every bundle of the " + string(step.Domain) + " domain",
	}[step.Op], step.Reason)
	return nil
}

func recordData(v *round) map[string][]byte {
	data := map[string][]byte{}
	for _, a := range v.Foreign {
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
