package kube

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PatchAnnotation sets one annotation of exactly this object (by UID) with one patch; none when it has that value. Applying the object leaves
// the annotation as it is.
func (a *Applier) PatchAnnotation(ctx context.Context, obj client.Object, key, value string) (changed bool, err error) {
	if have, ok := obj.GetAnnotations()[key]; ok && have == value {
		return false, nil
	}
	name, err := objectOf(a, obj)
	if err != nil {
		return false, err
	}
	metadata := precondition(obj.GetUID())
	metadata["annotations"] = map[string]string{key: value}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return false, fmt.Errorf("encoding annotation %s: %w", key, err)
	}
	if err := a.Permit(ctx, obj.GetNamespace()); err != nil {
		return false, err
	}
	target := emptyLike(obj)
	target.SetNamespace(obj.GetNamespace())
	target.SetName(obj.GetName())
	if err := a.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), a.Owner); err != nil {
		return false, failed("setting annotation "+key+" of", name, err)
	}
	return true, nil
}
