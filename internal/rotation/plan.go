package rotation

import (
	"fmt"
	"time"
)

// Plan is the decision: what to do now, whom it waits for, and when to look again.
type Plan struct {
	State State
	// Steps in the order in which they are to be executed. After a step that
	// fails the rest is dropped: observe again.
	Steps []Step
	// Blockers: for whom and why the rotation waits.
	Blockers []Blocker
	// Wake is the exact time at which the plan changes by itself; zero if it never does.
	Wake time.Time
	// NextRenewal is when the next leaf becomes due; zero if none will.
	NextRenewal time.Time
}

// State of a cluster's certificates, derived from what was observed.
type State string

// The states.
const (
	Steady   State = "Steady"   // everything is as wanted and proven
	Renewing State = "Renewing" // there are steps to execute
	Waiting  State = "Waiting"  // there is something to do, and it waits for somebody
)

// Op is a kind of step.
type Op string

// The operations.
const (
	CreateAuthority  Op = "CreateAuthority"  // make a generation and store it; never overwrites
	CopyAuthority    Op = "CopyAuthority"    // store an authority a second time, because its Secret is being deleted
	ReleaseAuthority Op = "ReleaseAuthority" // let go of a Secret of an authority whose twin is stored
	RestoreAuthority Op = "RestoreAuthority" // store an authority under its own name again, from its copy
	PublishTrust     Op = "PublishTrust"     // write the ConfigMap with the bundle for clients
	Publish          Op = "Publish"          // write a party's material
	Discard          Op = "Discard"          // delete material that nobody wants or uses any more
	Activate         Op = "Activate"         // ask a pod to use its party's material
	Nudge            Op = "Nudge"            // make the kubelet look again at a pod that was asked and has not got the files
	Prove            Op = "Prove"            // handshake with each port of a pod
)

// Step is one action.
type Step struct {
	Op         Op
	Reason     Reason
	Domain     Domain // of an authority
	Generation int    // of an authority
	Party      string // of Publish, Activate, Prove
	// Reissue are the domains whose leaf is issued anew by Publish; the other leaf is kept.
	// Empty: only the bundles are written.
	Reissue []Domain
	Pod     string // of Activate, Prove
	// Revision to activate. "" after a Publish in the same plan: the one that it made.
	Revision string
	Copy     bool // ReleaseAuthority: the copy and not the original
}

// String returns the step in words.
func (s Step) String() string {
	switch s.Op {
	case CreateAuthority, CopyAuthority, ReleaseAuthority, RestoreAuthority:
		return fmt.Sprintf("%s %s g%d (%s)", s.Op, s.Domain, s.Generation, s.Reason)
	case Publish:
		return fmt.Sprintf("%s %s %v (%s)", s.Op, s.Party, s.Reissue, s.Reason)
	case Activate:
		return fmt.Sprintf("%s %s %s (%s)", s.Op, s.Pod, s.Revision, s.Reason)
	case Discard:
		return fmt.Sprintf("%s %s (%s)", s.Op, s.Party, s.Reason)
	case Prove, Nudge:
		return fmt.Sprintf("%s %s (%s)", s.Op, s.Pod, s.Reason)
	case PublishTrust:
		return fmt.Sprintf("%s (%s)", s.Op, s.Reason)
	}
	return string(s.Op)
}

// Blocker says for whom and why the rotation waits.
type Blocker struct {
	Party   string // a pod, a Secret or a domain's authority
	Reason  Reason
	Message string // the fact and the remedy
}

// Reason is a closed set of codes, the same in status, events, metrics and logs.
type Reason string

// Why a leaf is issued or a bundle written.
const (
	ReasonMissing             Reason = "Missing"             // there is no Secret
	ReasonDamaged             Reason = "Damaged"             // it was altered, or does not parse, or its key does not match
	ReasonNamesChanged        Reason = "NamesChanged"        // a wanted name is not in the leaf
	ReasonKeyAlgorithmChanged Reason = "KeyAlgorithmChanged" // another kind of key is wanted
	ReasonIssuerNotActive     Reason = "IssuerNotActive"     // not signed by the active authority
	ReasonDue                 Reason = "Due"                 // its renewal time has come
	ReasonNotYetValid         Reason = "NotYetValid"         // a clock that was ahead issued it
	ReasonRequested           Reason = "Requested"           // somebody asked for it
	ReasonUnwanted            Reason = "Unwanted"            // its party is gone, as with an instance that was scaled away
	ReasonTrustChanged        Reason = "TrustChanged"        // a bundle is not the wanted one
)

// Why a pod is activated or proven, or an authority stored.
const (
	ReasonPublished       Reason = "Published"       // new material is published for it
	ReasonUndelivered     Reason = "Undelivered"     // the kubelet has not delivered what was asked for
	ReasonUnproven        Reason = "Unproven"        // its agent says it is active, and nobody else has seen it yet
	ReasonFirstGeneration Reason = "FirstGeneration" // the domain has no authority yet
	ReasonBeingDeleted    Reason = "BeingDeleted"    // somebody deleted the authority's Secret
	ReasonCopyStored      Reason = "CopyStored"      // the authority is stored twice, and once is enough
)

// Whom the rotation waits for, and why.
const (
	AgentUnreachable     Reason = "AgentUnreachable"     // the agent gives no report
	AgentRefused         Reason = "AgentRefused"         // the agent says why it did not activate
	AwaitingActivation   Reason = "AwaitingActivation"   // the agent was asked and has not done it yet
	NotProven            Reason = "NotProven"            // the operator's handshake failed
	StillServingOld      Reason = "StillServingOld"      // the handshake shows another leaf than the published one
	ForeignSecret        Reason = "ForeignSecret"        // a Secret of the wanted name belongs to somebody else
	MaterialUnknown      Reason = "MaterialUnknown"      // the Secret, or the clients' ConfigMap, could not be read
	ForeignConfigMap     Reason = "ForeignConfigMap"     // a ConfigMap of the wanted name belongs to somebody else
	AuthorityLost        Reason = "AuthorityLost"        // a generation is in use and its Secret is gone
	AuthorityUnreadable  Reason = "AuthorityUnreadable"  // its Secret does not hold a usable authority
	AuthorityForeign     Reason = "AuthorityForeign"     // a Secret of its name belongs to somebody else
	AuthorityExpired     Reason = "AuthorityExpired"     // it can sign nothing any more
	AuthorityNotYetValid Reason = "AuthorityNotYetValid" // its time has not come: a clock is wrong
	AuthorityEnding      Reason = "AuthorityEnding"      // a leaf cannot be renewed because it ends with its authority already
	SeveralAuthorities   Reason = "SeveralAuthorities"   // more than one could sign
)
