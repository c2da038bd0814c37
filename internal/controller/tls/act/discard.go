package act

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation"
)

var errNotRefused = errors.New("nobody has seen that what it issues is refused")

// discardAuthority deletes an authority, and its key with it.
func discardAuthority(ctx context.Context, v *round, step rotation.Step, proof refusal) error {
	stored := v.Authority(step.Domain, step.Generation)
	if proof != (refusal{domain: string(step.Domain), keyID: stored.Facts.Certificate.KeyID}) {
		return errNotRefused
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
