package kube

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Reason is a closed set of codes about whose an object is, the same in conditions, events and logs.
type Reason string

// Reasons of a Verdict.
const (
	OwnedByAnotherController Reason = "OwnedByAnotherController" // it is left alone
	NotLabelled              Reason = "NotLabelled"              // it is left alone
	StaleOwner               Reason = "StaleOwner"               // its owner is an earlier cluster of the same name
	TakenBack                Reason = "TakenBack"                // it had the cluster's label and no controller
	BeingDeleted             Reason = "BeingDeleted"             // it is made anew once it is gone
)

// Ownership says whose a live object is, for one cluster.
type Ownership string

// The kinds of ownership. An object that is Adoptable, or HeldByStaleOwner and restored, is taken back, once its content was checked
// where content matters. An object that is OfOtherController or Unlabelled is never written.
const (
	Ours              Ownership = "Ours"              // the cluster is its controller
	Adoptable         Ownership = "Adoptable"         // it bears the cluster's labels and has no controller
	HeldByStaleOwner  Ownership = "HeldByStaleOwner"  // it bears the labels, and its controller is an earlier cluster of the same name; see Restored
	OfOtherController Ownership = "OfOtherController" // something else is its controller
	Unlabelled        Ownership = "Unlabelled"        // it does not bear the cluster's labels
)

// Claimant is the cluster for which an object is judged.
type Claimant struct {
	Owner  metav1.OwnerReference // the cluster as controller: desired.OwnerReference
	Labels map[string]string     // what every object of the cluster bears: desired.ClusterLabels, or desired.ComponentLabels
}

// Verdict is the judgement about one object.
type Verdict struct {
	Ownership  Ownership
	Deleting   bool   // it is being deleted: it is never taken back, whatever its ownership
	Controller string // "Kind name" of OfOtherController and HeldByStaleOwner
	Label      string // "key=value" that an Unlabelled object lacks

	// Restored is the evidence that an object HeldByStaleOwner was made from a backup, and is no part of an earlier cluster that is being
	// collected: the record of its fields is there (caches leave it out), and says that the operator did not write that owner.
	Restored bool
}

// Judge says whose a live object is. The caller has found it under a name that the cluster wants.
func Judge(live metav1.Object, claimant Claimant) Verdict {
	verdict := Verdict{Deleting: live.GetDeletionTimestamp() != nil}
	controller := metav1.GetControllerOfNoCopy(live)
	missing := missingLabel(live.GetLabels(), claimant.Labels)
	switch {
	case controller != nil && controller.UID == claimant.Owner.UID:
		verdict.Ownership = Ours
	case controller != nil && !isNamesake(controller, claimant.Owner):
		verdict.Ownership, verdict.Controller = OfOtherController, controller.Kind+" "+controller.Name
	case missing != "":
		verdict.Ownership, verdict.Label = Unlabelled, missing
	case controller != nil:
		verdict.Ownership, verdict.Controller = HeldByStaleOwner, controller.Kind+" "+controller.Name
		verdict.Restored = writtenByOthers(live.GetManagedFields(), controller.UID)
	default:
		verdict.Ownership = Adoptable
	}
	return verdict
}

// isNamesake reports whether two references name the same object but for its UID. An object's owner lives in its namespace, and the
// version of a kind may have changed since.
func isNamesake(a *metav1.OwnerReference, b metav1.OwnerReference) bool {
	return a.Kind == b.Kind && a.Name == b.Name && groupOf(a.APIVersion) == groupOf(b.APIVersion)
}

func groupOf(apiVersion string) string {
	parsed, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return apiVersion
	}
	return parsed.Group
}

// ManagerPrefix begins the field owner of each of the operator's controllers.
const ManagerPrefix = "pgtls-"

// writtenByOthers reports whether the record of fields is known and names no controller of the operator as the one that wrote the owner.
func writtenByOthers(record []metav1.ManagedFieldsEntry, owner types.UID) bool {
	// FieldsV1 keys a list's element by its key as JSON, and is JSON itself.
	field := []byte(`k:{\"uid\":\"` + string(owner) + `\"}`)
	ours := slices.ContainsFunc(record, func(e metav1.ManagedFieldsEntry) bool {
		return strings.HasPrefix(e.Manager, ManagerPrefix) && e.FieldsV1 != nil && bytes.Contains(e.FieldsV1.Raw, field)
	})
	return len(record) > 0 && !ours
}

// missingLabel returns the first label that is wanted and not there, as "key=value". Without wanted labels nothing is labelled: a
// claimant that does not say how its objects are marked takes nothing.
func missingLabel(have, want map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, ok := have[key]; !ok || value != want[key] {
			return key + "=" + want[key]
		}
	}
	if len(want) == 0 {
		return "that marks the cluster's objects"
	}
	return ""
}

// Ours reports whether the cluster controls the object.
func (v Verdict) Ours() bool { return v.Ownership == Ours }

// Takeable reports whether the object may be taken back.
func (v Verdict) Takeable() bool {
	return !v.Deleting && (v.Ownership == Adoptable || v.Ownership == HeldByStaleOwner && v.Restored)
}

// Belongs reports whether the object is the cluster's: it controls it, or may take it back. It says nothing of the object's content.
func (v Verdict) Belongs() bool { return v.Ours() || v.Takeable() }

// Reason of the verdict; empty for an object of the cluster that stays.
func (v Verdict) Reason() Reason {
	switch v.Ownership {
	case OfOtherController:
		return OwnedByAnotherController
	case Unlabelled:
		return NotLabelled
	default:
	}
	switch {
	case v.Deleting:
		return BeingDeleted
	case v.Ownership == HeldByStaleOwner:
		return StaleOwner
	case v.Ownership == Adoptable:
		return TakenBack
	default:
		return ""
	}
}

// Message is the fact about the object and the remedy, in one line that is the same at each look. object is its kind and name.
func (v Verdict) Message(object string) string {
	switch v.Reason() {
	case OwnedByAnotherController:
		return fmt.Sprintf("%s is owned by another controller (%s) and is left alone: rename it where its controller has its name from, or give the cluster another name", object, v.Controller)
	case NotLabelled:
		return fmt.Sprintf("%s exists without the label %s and is left alone: add the label if it is this cluster's; otherwise rename it, or give the cluster another name", object, v.Label)
	case BeingDeleted:
		return object + " is being deleted: the operator creates it again once it is gone; a finalizer may hold it"
	case StaleOwner:
		if !v.Restored {
			return object + " has an earlier cluster of this name as its owner and goes with it: to keep it, remove that owner reference before the garbage collector acts"
		}
		return object + " has an earlier cluster of this name as its owner, on which the garbage collector acts: this cluster takes it back"
	case TakenBack:
		return object + " bears the cluster's label and has no controller: this cluster takes it back"
	default:
		return object + " is controlled by this cluster"
	}
}

// OwnershipError says why an object was not written: its verdict.
type OwnershipError struct {
	Object
	Verdict Verdict
}

func (e *OwnershipError) Error() string { return e.Verdict.Message(e.String()) }

// Object names an object in errors and messages.
type Object struct{ Kind, Namespace, Name string }

// String is "Kind namespace/name".
func (o Object) String() string { return strings.TrimPrefix(o.Kind+" "+o.Namespace+"/"+o.Name, " ") }

// AsOwnership finds the OwnershipError in an error.
func AsOwnership(err error) (*OwnershipError, bool) {
	var found *OwnershipError
	ok := errors.As(err, &found)
	return found, ok
}
