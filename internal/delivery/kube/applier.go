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
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
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
	desired, err := render(a, obj)
	if err != nil {
		return "", err
	}
	live, err := get(ctx, a, a.Client, obj)
	if err != nil {
		return "", err
	}
	if live == nil {
		if live, err = create(ctx, a, desired, obj); err != nil || live == nil {
			return Written, err
		}
	}
	claimant := claimantIn(a, obj)
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
	return Written, applyOver(ctx, a, desired, obj)
}

// create makes an object that the cache does not know. The cache holds only what bears the label, so there may be one all the same:
// it is returned, and nothing was written. nil: it was made.
//
// The object is posted, for an apply could not be kept from overwriting one that is not the cluster's, and to look first would be one
// more request for each object of each cluster. See applyOver for what that takes later.
func create(ctx context.Context, a *Applier, desired *unstructured.Unstructured, obj client.Object) (client.Object, error) {
	if err := a.Permit(ctx, obj.GetNamespace()); err != nil {
		return nil, err
	}
	err := a.Client.Create(ctx, posted(obj, desired), maker(a))
	switch {
	case err == nil:
		return nil, nil
	case !apierrors.IsAlreadyExists(err):
		return nil, failed("creating", nameOf(desired), err)
	}
	reader := a.Live
	if reader == nil {
		reader = a.Client
	}
	live, getErr := get(ctx, a, reader, obj)
	if getErr == nil && live == nil {
		getErr = failed("creating", nameOf(desired), err) // it was there, and has gone since
	}
	return live, getErr
}

// posted is an object as it is posted: with the hash of what is desired. It is of the caller's type, which the API server and the client
// exchange in a binary form: that takes half the time of JSON.
func posted(obj client.Object, desired *unstructured.Unstructured) client.Object {
	made := obj.DeepCopyObject().(client.Object)
	made.SetAnnotations(desired.GetAnnotations())
	made.SetResourceVersion("")
	return made
}

// maker is the field manager of what is posted. It is not the owner: what the owner patches besides, such as an annotation, is no part
// of what it applies, and stays.
func maker(a *Applier) client.FieldOwner { return a.Owner + "-made" }

// applyOver applies over an object that exists. What was posted belongs to its maker: it is made part of what is applied first, or a field
// that is desired no more would stay.
func applyOver(ctx context.Context, a *Applier, desired *unstructured.Unstructured, obj client.Object) error {
	if err := a.Permit(ctx, obj.GetNamespace()); err != nil {
		return err
	}
	if err := ownByApply(ctx, a, obj); err != nil {
		return err
	}
	apply := client.ApplyConfigurationFromUnstructured(desired)
	if err := a.Client.Apply(ctx, apply, a.Owner, client.ForceOwnership); err != nil {
		return &ObjectError{Object: nameOf(desired), Act: "applying", Exists: true, Err: err}
	}
	return nil
}

// ownByApply turns the maker's fields of an object into applied ones of this owner, as kubectl does for objects that were made before
// server-side apply. It is one read, and one patch the first time.
func ownByApply(ctx context.Context, a *Applier, obj client.Object) error {
	reader := a.Live
	if reader == nil {
		reader = a.Client
	}
	live, err := get(ctx, a, reader, obj) // caches leave the record out
	if err != nil || live == nil {
		return err
	}
	object, err := objectOf(a, obj)
	if err != nil {
		return err
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(string(maker(a))), string(a.Owner))
	if err != nil {
		return failed("reading the record of fields of", object, err)
	}
	if len(patch) == 0 {
		return nil
	}
	if err := a.Client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, patch), a.Owner); err != nil {
		return &ObjectError{Object: object, Act: "taking over the fields of", Exists: true, Err: err}
	}
	return nil
}

// Recover is TakeBack for an object that was read from a cache: whether an earlier cluster's object was restored stands in a record that
// caches leave out.
func (a *Applier) Recover(ctx context.Context, live client.Object, claimant Claimant) error {
	if Judge(live, claimant).Ownership == HeldByStaleOwner && a.Live != nil {
		if err := a.Live.Get(ctx, client.ObjectKeyFromObject(live), live); err != nil {
			object, unnamed := objectOf(a, live)
			return errors.Join(unnamed, failed("reading", object, err))
		}
	}
	return a.TakeBack(ctx, live, claimant)
}

// claimantIn is the cluster that a desired object names as its controller.
func claimantIn(a *Applier, obj client.Object) Claimant {
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
	object, err := objectOf(a, obj)
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
func (a *Applier) Name(obj client.Object) (Object, error) { return objectOf(a, obj) }

func render(a *Applier, obj client.Object) (*unstructured.Unstructured, error) {
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

// get returns nil when a reader knows no such object.
func get(ctx context.Context, a *Applier, reader client.Reader, obj client.Object) (client.Object, error) {
	live := emptyLike(obj)
	err := reader.Get(ctx, client.ObjectKeyFromObject(obj), live)
	switch {
	case err == nil:
		return live, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	}
	object, unnamed := objectOf(a, obj)
	if unnamed != nil {
		return nil, unnamed
	}
	return nil, failed("reading", object, err)
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
