package kube

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Adopt makes owner the one owner of exactly this object (by UID), which others write.
func (a *Applier) Adopt(ctx context.Context, obj client.Object, owner metav1.OwnerReference) error {
	metadata := precondition(obj.GetUID())
	metadata["ownerReferences"] = []metav1.OwnerReference{owner}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encoding an owner: %w", err)
	}
	target := emptyLike(obj)
	target.SetNamespace(obj.GetNamespace())
	target.SetName(obj.GetName())
	if err := a.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), a.Owner); err != nil {
		return fmt.Errorf("adopting %T %s: %w", obj, client.ObjectKeyFromObject(obj), err)
	}
	return nil
}
