package kube

import (
	"context"
	"errors"
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

	// ClusterLabel is the key of the label that says whose an object is. An object without controller that bears it with the
	// value of the desired object is taken back. Empty: nothing is taken back.
	ClusterLabel string
	// TookBack is called after an object was taken back, and may be nil. The context is that of the request.
	TookBack func(ctx context.Context, object Object, verdict Verdict)

	// MayWrite is asked before every write, and may be nil: see Namespaces.
	MayWrite func(ctx context.Context, namespace string) error

	// Conditions are the types that this owner writes at times: one that is not desired any more goes.
	Conditions []string
}

// Outcome says what an Apply did.
type Outcome string

// The outcomes.
const (
	InForce   Outcome = "InForce"   // the object was what it should be, and nothing was written
	Written   Outcome = "Written"   // it is now
	Recovered Outcome = "Recovered" // it was taken back and is otherwise as it was: look at its content, and apply again
)

// Apply makes the object on the API server what obj says. Fields that obj leaves out belong to others. obj must carry a controller owner
// reference. A live object of its name that another controller owns, or that is not labelled, is never touched; one that is labelled and
// has no controller is taken back, and written by the next Apply, for which the caller has seen what it holds. An obj with a resource version
// is written over exactly that version. Status is left out; see ApplyStatus.
//
// Errors: *OwnershipError (also for an object that is being deleted and differs), and *ObjectError with those of the API server.
func (a *Applier) Apply(ctx context.Context, obj client.Object) (Outcome, error) {
	desired, err := a.render(obj)
	if err != nil {
		return "", err
	}
	live, err := a.current(ctx, obj)
	if err != nil {
		return "", err
	}
	if live != nil {
		claimant := a.claimant(obj)
		verdict := Judge(live, claimant)
		if !verdict.Ours() {
			return Recovered, a.Recover(ctx, live, claimant)
		}
		same, err := inForce(desired, live)
		switch {
		case err != nil:
			return "", err
		case same:
			return InForce, nil
		case verdict.Deleting:
			return "", &OwnershipError{Object: nameOf(desired), Verdict: verdict}
		}
		// The object that was looked at, not one that was made under the same name since.
		desired.SetUID(live.GetUID())
		// Where the caller decided on an observed version, only over that one.
		desired.SetResourceVersion(obj.GetResourceVersion())
	}
	if err := a.Permit(ctx, obj.GetNamespace()); err != nil {
		return "", err
	}
	apply := client.ApplyConfigurationFromUnstructured(desired)
	if err := a.Client.Apply(ctx, apply, a.Owner, client.ForceOwnership); err != nil {
		return "", &ObjectError{Object: nameOf(desired), Act: "applying", Exists: live != nil, Err: err}
	}
	return Written, nil
}

// Recover is TakeBack for an object that was read from a cache: whether an earlier cluster's object was restored stands in a record that
// caches leave out.
func (a *Applier) Recover(ctx context.Context, live client.Object, claimant Claimant) error {
	if Judge(live, claimant).Ownership == HeldByStaleOwner && a.Live != nil {
		if err := a.Live.Get(ctx, client.ObjectKeyFromObject(live), live); err != nil {
			object, unnamed := a.objectOf(live)
			return errors.Join(unnamed, failed("reading", object, err))
		}
	}
	return a.TakeBack(ctx, live, claimant)
}

// claimant is the cluster that a desired object names as its controller.
func (a *Applier) claimant(obj client.Object) Claimant {
	claimant := Claimant{Owner: *metav1.GetControllerOf(obj)}
	if value := obj.GetLabels()[a.ClusterLabel]; value != "" {
		claimant.Labels = map[string]string{a.ClusterLabel: value}
	}
	return claimant
}

func nameOf(u *unstructured.Unstructured) Object {
	return Object{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
}

// Delete deletes exactly the object that was looked at: neither a later version nor a namesake.
// One that is gone already is no error.
func (a *Applier) Delete(ctx context.Context, obj client.Object) error {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	return a.DeleteWith(ctx, obj, client.Preconditions{UID: &uid, ResourceVersion: &version})
}

// DeleteWith deletes with the caller's preconditions. One that is gone already is no error.
func (a *Applier) DeleteWith(ctx context.Context, obj client.Object, options ...client.DeleteOption) error {
	object, err := a.objectOf(obj)
	if err != nil {
		return err
	}
	if err := a.Permit(ctx, obj.GetNamespace()); err != nil {
		return err
	}
	if err := client.IgnoreNotFound(a.Client.Delete(ctx, obj, options...)); err != nil {
		return failed("deleting", object, err)
	}
	return nil
}

// Permit says whether something may be written to a namespace now; nil: yes.
func (a *Applier) Permit(ctx context.Context, namespace string) error {
	if a.MayWrite == nil {
		return nil
	}
	return a.MayWrite(ctx, namespace)
}

// Name of an object in errors and messages.
func (a *Applier) Name(obj client.Object) (Object, error) { return a.objectOf(obj) }

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
			object, unnamed := a.objectOf(obj)
			if unnamed != nil {
				return nil, unnamed
			}
			return nil, failed("reading", object, err)
		}
	}
	return nil, nil
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
