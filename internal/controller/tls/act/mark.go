package act

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// switchSigner notes on the Secret of a generation since when it is active.
func switchSigner(ctx context.Context, v *round, step plan.SwitchSigner) error {
	err := mark(ctx, v, step.Domain, step.Generation, map[string]string{material.SwitchedAnnotation: v.Observed.Now.UTC().Format(material.TimeLayout)})
	if err != nil {
		return err
	}
	sendEvent(v, eventNormal, eventSignerSwitched, "the %s authority g%d is active from now on (%s)", step.Domain, step.Generation, step.Reason)
	return nil
}

// rollBack notes on the Secret of a generation that it is rolled back, and which request that answers.
func rollBack(ctx context.Context, v *round, step plan.RollBack) error {
	err := mark(ctx, v, step.Domain, step.Generation, map[string]string{
		material.RollbackReasonAnnotation: string(step.Reason),
		material.RollbackSeenAnnotation:   v.Policy.Rekey[step.Domain].Rollback,
	})
	if err != nil {
		return err
	}
	sendEvent(v, eventWarning, eventRolledBack, "the %s authority g%d is rolled back, and g%d is active again (%s)", step.Domain, step.Generation, step.To, because(step.Reason, step.Message))
	return nil
}

// dropOld notes on the Secret of the active generation that another one is trusted no longer. What was decided about one that
// was rolled back goes over with the same write: its Secret goes.
func dropOld(ctx context.Context, v *round, step plan.DropOld) error {
	active, dropped := v.Authority(step.Domain, step.Active), v.Authority(step.Domain, step.Generation)
	if active == nil {
		return ErrLookAgain
	}
	marks := map[string]string{material.RetiredAnnotation: retired(active.Facts.Retired, step.Generation)}
	if dropped != nil && dropped.Facts.RollbackReason != "" {
		marks[material.RolledBackAnnotation] = strconv.Itoa(step.Generation)
		marks[material.RolledBackByAnnotation] = string(dropped.Facts.RollbackReason)
		marks[material.AnswersAnnotation] = dropped.Facts.Answered // or it would be tried again
		marks[material.RollbackSeenAnnotation] = dropped.Facts.RollbackSeen
	}
	if err := mark(ctx, v, step.Domain, step.Active, marks); err != nil {
		return err
	}
	sendEvent(v, eventNormal, eventAuthorityDropped, "the %s authority g%d is dropped from every bundle (%s)", step.Domain, step.Generation, step.Reason)
	return nil
}

func retired(before []int, generation int) string {
	var texts []string
	for _, n := range append(slices.Clone(before), generation) {
		texts = append(texts, strconv.Itoa(n))
	}
	return strings.Join(texts, ",")
}

// mark notes a decision on the Secret of a generation. It is one write, and only on the Secret that was observed: a decision made
// on other facts is not noted. The twin follows in the next round.
func mark(ctx context.Context, v *round, domain facts.Domain, generation int, marks map[string]string) error {
	on := v.Authority(domain, generation)
	if on == nil || on.Original == nil {
		return ErrLookAgain // it is being restored
	}
	return v.annotate(ctx, on.Original, marks)
}

// annotate writes annotations to exactly the Secret that was observed.
func (x *Executor) annotate(ctx context.Context, secret *corev1.Secret, annotations map[string]string) error {
	if err := x.Applier.Permit(ctx, secret.Namespace); err != nil {
		return err
	}
	next := secret.DeepCopy()
	for key, value := range annotations {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, key, value)
	}
	patch := client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})
	if err := x.Client.Patch(ctx, next, patch, x.Applier.Owner); err != nil {
		return fmt.Errorf("marking Secret %s: %w", next.Name, err)
	}
	x.Written.note(next)
	return nil
}
