package decide

import (
	"time"

	"pgtls.dev/pgtls/internal/delivery/kube"
)

// Reason is a closed set of codes, the same in conditions, events and logs.
type Reason string

// Why the cluster is as it is.
const (
	Settled             Reason = "Settled"             // everything is as the spec wants it
	SpecInvalid         Reason = "SpecInvalid"         // the spec cannot work; nothing was changed
	ForeignObject       Reason = "ForeignObject"       // an object that an instance or the poolers need is not the cluster's
	StepFailed          Reason = "StepFailed"          // an error; tried again
	AwaitingStep        Reason = "AwaitingStep"        // a step that this one needs failed
	PodCreationDenied   Reason = "PodCreationDenied"   // a quota or a policy denies a pod
	AwaitingMaterial    Reason = "AwaitingMaterial"    // the TLS controller has not published a party's material yet
	AwaitingLeftovers   Reason = "AwaitingLeftovers"   // an earlier cluster of this name is still going away
	AwaitingVolume      Reason = "AwaitingVolume"      // a volume claim of this name is still being deleted
	AwaitingInstance    Reason = "AwaitingInstance"    // an instance is not ready, or does not stream
	AwaitingPrimary     Reason = "AwaitingPrimary"     // there is no primary
	AwaitingPooler      Reason = "AwaitingPooler"      // the poolers are not all ready
	AwaitingStatefulSet Reason = "AwaitingStatefulSet" // Kubernetes has not yet looked at a changed StatefulSet
	AwaitingPatroni     Reason = "AwaitingPatroni"     // Patroni does not answer
	AwaitingDatabase    Reason = "AwaitingDatabase"    // PostgreSQL does not answer
	ReplacingInstance   Reason = "ReplacingInstance"   // a pod was deleted so that it comes back as the spec wants it
	RemovingInstance    Reason = "RemovingInstance"    // an instance that the spec wants no more is going
	SwitchingOver       Reason = "SwitchingOver"       // another instance becomes the primary, so that this one can go
	OrphanNotWanted     Reason = "OrphanNotWanted"     // what an earlier cluster left and the spec does not want is left alone
	RestartingInstance  Reason = "RestartingInstance"  // a setting takes a restart of PostgreSQL

	// About whose an object is.
	OwnedByAnotherController = Reason(kube.OwnedByAnotherController)
	NotLabelled              = Reason(kube.NotLabelled)
	StaleOwner               = Reason(kube.StaleOwner)
	TakenBack                = Reason(kube.TakenBack)
	BeingDeleted             = Reason(kube.BeingDeleted)

	// Of the condition Ready.
	AllReady          Reason = "AllReady"
	InstancesNotReady Reason = "InstancesNotReady"
	NoPrimary         Reason = "NoPrimary"
	PoolersNotReady   Reason = "PoolersNotReady"

	// Of events.
	UsersChanged         Reason = "UsersChanged"
	ConfigurationChanged Reason = "ConfigurationChanged"
	LeftoverDeleted      Reason = "LeftoverDeleted"
)

// Wait says for whom and why a step goes no further.
type Wait struct {
	Party   string // instance, object or user that is waited for
	Reason  Reason
	Message string        // the fact, and the remedy where there is one
	Again   time.Duration // when to look again; 0: a watch tells
}

// stuck are the reasons that no patience helps.
var stuck = map[Reason]bool{SpecInvalid: true, ForeignObject: true, OwnedByAnotherController: true, NotLabelled: true, PodCreationDenied: true}

// IsStuck reports whether no patience helps.
func (r Reason) IsStuck() bool { return stuck[r] }

// IsExpected reports whether nothing is wrong and nothing is going on: the reason only says what is left alone.
func (r Reason) IsExpected() bool { return r == OrphanNotWanted }

// How long until the next look at what no watch tells.
const (
	Soon  = 2 * time.Second  // answers of Patroni and PostgreSQL
	Later = 30 * time.Second // what a person has to change
)
