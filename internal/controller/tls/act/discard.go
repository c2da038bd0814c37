package act

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation/plan"
)

// DiscardAuthority deletes an authority, and its key with it.
func (r *Round) DiscardAuthority(ctx context.Context, step plan.Step, proof Refusal) error {
	v := &r.round
	stored := v.Authority(step.Domain, step.Generation)
	if proof != (Refusal{domain: string(step.Domain), keyID: stored.Facts.Certificate.KeyID}) {
		return ErrNotRefused
	}
	for _, secret := range []*corev1.Secret{stored.Original, stored.Twin} {
		if secret == nil {
			continue
		}
		if secret.DeletionTimestamp.IsZero() {
			if err := v.Applier.Delete(ctx, secret); err != nil {
				return err
			}
			return nil // its finalizer holds it until the next round
		}
		if err := removeFinalizer(ctx, v, secret); err != nil {
			return err
		}
	}
	sendEvent(v, eventNormal, string(step.Op), "the %s authority g%d is gone, and its key with it (%s)", step.Domain, step.Generation, step.Reason)
	return nil
}
