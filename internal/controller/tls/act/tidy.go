package act

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
)

// Tidying is a step about the Secrets of authorities that no plan knows of: it changes nothing that a decision is made from.
type Tidying struct {
	Key, Object string
	Do          func(context.Context) error
}

// Tidy returns what is to be tidied: finalizers of an earlier version of the operator, which would hold a namespace that is being
// deleted, and twins that lack what was decided about their authority.
func (x *Executor) Tidy(s *snapshot.Snapshot) (tidyings []Tidying) {
	for _, secret := range s.Finalized {
		tidyings = append(tidyings, Tidying{Key: "RemoveFinalizer " + secret.Name, Object: "Secret " + secret.Name, Do: func(ctx context.Context) error {
			return x.RemoveFinalizer(ctx, secret)
		}})
	}
	for _, stored := range s.Authorities {
		if lacksMarks(stored) {
			tidyings = append(tidyings, Tidying{Key: "CopyMarks " + stored.Twin.Name, Object: "Secret " + stored.Twin.Name, Do: func(ctx context.Context) error {
				return x.annotate(ctx, stored.Twin, stored.Marks)
			}})
		}
	}
	return tidyings
}

// lacksMarks reports whether the copy of an authority does not say what the original does.
func lacksMarks(stored *snapshot.StoredAuthority) bool {
	return stored.Facts.Problem == "" && !stored.Differ && live(stored.Original) && live(stored.Twin) &&
		!maps.Equal(material.MarksOf(stored.Twin.Annotations), stored.Marks)
}

func live(secret *corev1.Secret) bool { return secret != nil && secret.DeletionTimestamp.IsZero() }
