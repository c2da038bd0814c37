package act

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// mark notes a decision on the Secret of the authority that is to sign from then on. It is one write, and only on the
// Secret that was observed: a decision made on other facts is not noted.
func mark(ctx context.Context, v *round, step plan.Step) error {
	on := v.Authority(step.Domain, step.Generation)
	if step.Op != plan.SwitchSigner {
		on = v.Authority(step.Domain, step.Signer)
	}
	if on == nil || on.Original == nil {
		return ErrLookAgain // it is being restored
	}
	next := on.Original.DeepCopy()
	for key, value := range marksFor(v, step, on) {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, key, value)
	}
	patch := client.MergeFromWithOptions(on.Original, client.MergeFromWithOptimisticLock{})
	if err := v.Client.Patch(ctx, next, patch, v.Applier.Owner); err != nil {
		return fmt.Errorf("marking Secret %s: %w", next.Name, err)
	}
	kind, verb := eventNormal, map[rotation.Op]string{
		plan.SwitchSigner: "signs from now on",
		plan.DropOld:      "is dropped from every bundle",
		plan.RollBack:     "is withdrawn",
	}[step.Op]
	if step.Op == plan.RollBack {
		kind = eventWarning
	}
	sendEvent(v, kind, string(step.Op), "the %s authority g%d %s (%s)", step.Domain, step.Generation, verb, because(step))
	return nil
}

// marksFor are the annotations that note a decision on the Secret of an authority.
func marksFor(v *round, step plan.Step, on *snapshot.StoredAuthority) map[string]string {
	switch step.Op {
	case plan.SwitchSigner:
		return map[string]string{material.SwitchedAnnotation: v.Observed.Now.UTC().Format(material.TimeLayout)}
	case plan.RollBack:
		marks := map[string]string{
			material.RolledBackAnnotation:   strconv.Itoa(step.Generation),
			material.RolledBackByAnnotation: string(step.Reason),
			material.RollbackSeenAnnotation: v.Policy.Rekey[step.Domain].Rollback, // it is answered
		}
		if from := v.Authority(step.Domain, step.Generation); from != nil {
			marks[material.AnswersAnnotation] = from.Facts.Answered // or it would be tried again
		}
		return marks
	case plan.DropOld:
		retired := append(slices.Clone(on.Facts.Retired), step.Generation)
		texts := make([]string, len(retired))
		for i, n := range retired {
			texts[i] = strconv.Itoa(n)
		}
		return map[string]string{material.RetiredAnnotation: strings.Join(texts, ",")}
	default:
		return nil
	}
}
