package act

import (
	"bytes"
	"context"
	"fmt"
	"maps"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// copyAuthority stores an authority a second time.
func copyAuthority(ctx context.Context, v *round, step plan.Step) error {
	stored := v.Authority(step.Domain, step.Generation)
	secret := authoritySecret(v, step, stored.Original.Data)
	secret.Name += material.CopySuffix
	maps.Copy(metadata(secret), material.MarksOf(stored.Original))
	if err := create(ctx, v, secret); err != nil {
		return err
	}
	sendEvent(v, eventWarning, string(reason.SecretMissing), "Secret %s was deleted; the authority is kept and restored", stored.Original.Name)
	return nil
}

// restoreAuthority stores an authority under its own name again.
func restoreAuthority(ctx context.Context, v *round, step plan.Step) error {
	twin := v.Authority(step.Domain, step.Generation).Twin
	secret := authoritySecret(v, step, twin.Data)
	maps.Copy(metadata(secret), material.MarksOf(twin))
	return create(ctx, v, secret)
}

// releaseAuthority lets go of one of the two Secrets. The plan says that the
// other one is stored; that it holds the same is looked at here.
func releaseAuthority(ctx context.Context, v *round, step plan.Step) error {
	stored := v.Authority(step.Domain, step.Generation)
	secret := stored.Original
	if step.Copy {
		secret = stored.Twin
	}
	for _, key := range []string{material.AuthorityCertificate, material.AuthorityKey} {
		if !bytes.Equal(stored.Original.Data[key], stored.Twin.Data[key]) {
			return &Error{TwinDiffers, fmt.Sprintf("Secret %s and its twin hold different authorities", secret.Name), "delete the one that is not the cluster's"}
		}
	}
	if step.Copy {
		if secret.DeletionTimestamp.IsZero() {
			if err := v.Applier.Delete(ctx, secret); err != nil {
				return err
			}
			return nil // its finalizer holds it until the next round
		}
	}
	return removeFinalizer(ctx, v, secret)
}

// ReleaseOrphans lets go of what an earlier cluster of the same name left.
func (x *Executor) ReleaseOrphans(ctx context.Context, s *snapshot.Snapshot) error {
	v := &x.Begin(s, plan.Plan{}).round
	for _, secret := range v.Orphans {
		if err := removeFinalizer(ctx, v, secret); err != nil {
			return err
		}
	}
	return nil
}
