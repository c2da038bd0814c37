package kube

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// AppliedAnnotation holds the hash of the desired object that was applied last.
// It makes a field noticed that is desired no more: such a field differs in nothing else.
const AppliedAnnotation = "pgtls.dev/applied"

// Applier applies whole objects for one field owner.
type Applier struct {
	Client client.Client // reads come from its cache
	Live   client.Reader // reads past the cache, which holds only objects with our label; nil: Client
	Owner  client.FieldOwner

	// Conditions are the types that this owner writes at times: one that is not desired any more goes.
	Conditions []string
}

// Apply makes the object on the API server what obj says, and tells whether that took a write. Fields that
// obj leaves out belong to others. obj must carry a controller owner reference: what exists under
// its name and is controlled by another is never touched. Status is left out; see ApplyStatus.
//
// Errors: *ForeignObjectError, and those of the API server.
func (a *Applier) Apply(ctx context.Context, obj client.Object) (changed bool, err error) {
	desired, err := a.render(obj)
	if err != nil {
		return false, err
	}
	live, err := a.current(ctx, obj)
	if err != nil {
		return false, err
	}
	if live != nil {
		if err := refuseForeign(desired, obj, live); err != nil {
			return false, err
		}
		same, err := inForce(desired, live)
		if err != nil || same {
			return false, err
		}
		// The object that was looked at, not one that was made under the same name since.
		desired.SetUID(live.GetUID())
	}
	apply := client.ApplyConfigurationFromUnstructured(desired)
	if err := a.Client.Apply(ctx, apply, a.Owner, client.ForceOwnership); err != nil {
		return false, fmt.Errorf("applying %s %s: %w", desired.GetKind(), client.ObjectKeyFromObject(obj), err)
	}
	return true, nil
}

// Delete deletes exactly the object that was looked at: neither a later version nor a namesake.
// One that is gone already is no error.
func (a *Applier) Delete(ctx context.Context, obj client.Object) error {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	err := a.Client.Delete(ctx, obj, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return nil
}

func (a *Applier) render(obj client.Object) (*unstructured.Unstructured, error) {
	gvk, err := apiutil.GVKForObject(obj, a.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("naming the kind of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	if metav1.GetControllerOf(obj) == nil {
		return nil, fmt.Errorf("applying %s %s: it has no controller owner reference", gvk.Kind, client.ObjectKeyFromObject(obj))
	}
	desired, err := toUnstructured(obj)
	if err != nil {
		return nil, err
	}
	desired.SetGroupVersionKind(gvk)
	hash, err := hashOf(desired)
	if err != nil {
		return nil, err
	}
	annotations := desired.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AppliedAnnotation] = hash
	desired.SetAnnotations(annotations)
	return desired, nil
}

// current returns nil when there is no such object. The cache holds only what bears our label, so an
// absence in it is asked for again at the API server before anything is made.
func (a *Applier) current(ctx context.Context, obj client.Object) (client.Object, error) {
	key := client.ObjectKeyFromObject(obj)
	readers := []client.Reader{a.Client}
	if a.Live != nil {
		readers = append(readers, a.Live)
	}
	for _, reader := range readers {
		live := emptyLike(obj)
		err := reader.Get(ctx, key, live)
		if err == nil {
			return live, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("reading %T %s: %w", obj, key, err)
		}
	}
	return nil, nil
}

func refuseForeign(desired *unstructured.Unstructured, obj, live client.Object) error {
	want, have := metav1.GetControllerOf(obj), metav1.GetControllerOf(live)
	if have != nil && have.UID == want.UID {
		return nil
	}
	return &ForeignObjectError{Kind: desired.GetKind(), Namespace: live.GetNamespace(), Name: live.GetName()}
}

func inForce(desired *unstructured.Unstructured, live client.Object) (bool, error) {
	have, err := toUnstructured(live)
	if err != nil {
		return false, err
	}
	// A typed object from a cache says nothing of its own kind.
	have.SetGroupVersionKind(desired.GroupVersionKind())
	return covers(have.Object, desired.Object), nil
}

func emptyLike(obj client.Object) client.Object {
	if _, isUnstructured := obj.(*unstructured.Unstructured); isUnstructured {
		empty := &unstructured.Unstructured{}
		empty.SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
		return empty
	}
	return reflect.New(reflect.TypeOf(obj).Elem()).Interface().(client.Object)
}

// toUnstructured drops what the server writes, so that it is neither claimed nor compared.
func toUnstructured(obj client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("converting %T %s: %w", obj, client.ObjectKeyFromObject(obj), err)
	}
	u := &unstructured.Unstructured{Object: content}
	for _, field := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(u.Object, "status")
	dropNulls(u.Object)
	return u, nil
}

// dropNulls removes nulls at every depth, such as the creationTimestamp of a
// pod template. Empty maps stay: an empty selector selects everything.
func dropNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil {
				delete(v, key)
			} else {
				dropNulls(member)
			}
		}
	case []any:
		for _, element := range v {
			dropNulls(element)
		}
	}
}

// precondition is the UID as the API server expects it in a patch.
func precondition(uid types.UID) map[string]any { return map[string]any{"uid": string(uid)} }
