package act

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation/plan"
)

// DiscardAuthority deletes both Secrets of an authority, the key in them, and what the operator remembers of it.
func (r *Round) DiscardAuthority(ctx context.Context, step plan.DiscardAuthority, proof Refusal) error {
	v := &r.round
	stored := v.Authority(step.Domain, step.Generation)
	if proof != (Refusal{domain: string(step.Domain), keyID: stored.Facts.Certificate.KeyID}) {
		return ErrNotRefused
	}
	for _, secret := range []*corev1.Secret{stored.Original, stored.Twin} {
		if secret == nil {
			continue
		}
		if err := v.RemoveFinalizer(ctx, secret); err != nil {
			return err
		}
		if err := v.Applier.Delete(ctx, secret); err != nil {
			return err
		}
	}
	v.Memory.Forget(v.Cluster.UID, step.Domain, step.Generation)
	sendEvent(v, eventNormal, eventAuthorityDiscarded, "the %s authority g%d is gone, and its key with it (%s)", step.Domain, step.Generation, step.Reason)
	return nil
}
