package act

import (
	"context"
	"fmt"
	"maps"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// restoreAuthority stores an authority again under one of its two names, with what was decided about it.
func restoreAuthority(ctx context.Context, v *round, step plan.RestoreAuthority) error {
	stored := v.Authority(step.Domain, step.Generation)
	if stored == nil || stored.Data == nil {
		return fmt.Errorf("restoring the %s authority g%d: %w", step.Domain, step.Generation, errNotAtHand)
	}
	secret := authoritySecret(v, step.Domain, step.Generation, stored.Data)
	if step.Copy {
		secret.Name += material.CopySuffix
	}
	maps.Copy(metadata(secret), stored.Marks)
	if err := create(ctx, v, secret); err != nil {
		return err
	}
	if !step.Copy || stored.Facts.Remembered {
		sendEvent(v, eventWarning, string(step.Reason), "Secret %s was gone; the authority is stored again", secret.Name)
	}
	return nil
}

// takeBack makes the cluster the controller of an object of its own again.
func takeBack(ctx context.Context, v *round, step plan.TakeBack) error {
	object := v.Unowned[step.Object]
	if object == nil {
		return fmt.Errorf("taking back %s: %w", step.Object, errNotAtHand)
	}
	verdict := kube.Judge(object, v.Claimant())
	if err := v.Applier.TakeBack(ctx, object, v.Claimant()); err != nil {
		return err
	}
	sendEvent(v, eventWarning, string(verdict.Reason()), "%s", verdict.Message(step.Object.String()))
	return nil
}
