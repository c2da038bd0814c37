package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// TakeBack makes the cluster the controller of exactly the object that was looked at (by UID and resource version), and changes nothing else
// of it. live becomes the object as it is then. References to other owners that are no controllers stay.
//
// A reference to an earlier cluster of the same name goes: the garbage collector deletes an object whose every owner is gone, with the
// resource version that it saw, so an object that was taken back in between stays.
//
// Errors: *OwnershipError for an object that may not be taken back, a conflict when it has changed since, and others of the API server.
func (a *Applier) TakeBack(ctx context.Context, live client.Object, claimant Claimant) error {
	object, err := objectOf(a, live)
	if err != nil {
		return err
	}
	verdict := Judge(live, claimant)
	if verdict.Ours() {
		return nil
	}
	if !verdict.Takeable() {
		return &OwnershipError{Object: object, Verdict: verdict}
	}
	if err := a.Permit(ctx, live.GetNamespace()); err != nil {
		return err
	}
	metadata := precondition(live.GetUID())
	metadata["resourceVersion"] = live.GetResourceVersion()
	metadata["ownerReferences"] = ownersWith(live.GetOwnerReferences(), claimant.Owner)
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encoding an owner: %w", err)
	}
	if err := a.Client.Patch(ctx, live, client.RawPatch(types.MergePatchType, patch), a.Owner); err != nil {
		return failed("taking back", object, err)
	}
	if a.TookBack != nil {
		a.TookBack(ctx, object, verdict)
	}
	return nil
}

// ownersWith returns the references of an object that is taken back.
func ownersWith(owners []metav1.OwnerReference, controller metav1.OwnerReference) []metav1.OwnerReference {
	kept := slices.DeleteFunc(slices.Clone(owners), func(o metav1.OwnerReference) bool {
		return isNamesake(&o, controller) || o.Controller != nil && *o.Controller
	})
	return append(kept, controller)
}

func objectOf(a *Applier, obj client.Object) (Object, error) {
	gvk, err := apiutil.GVKForObject(obj, a.Client.Scheme())
	if err != nil {
		return Object{}, fmt.Errorf("naming the kind of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return Object{Kind: gvk.Kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}, nil
}
