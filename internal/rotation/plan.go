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
	// Rekeys that are under way, by domain.
	Rekeys []Rekey
	// Adoptions of custom certificates that are under way.
	Adoptions []Adoption

	lineages []lineage
	revoked  revoking
}

// Rekey is the change from one authority to another, as it stands.
type Rekey struct {
	Domain   Domain
	Phase    Phase
	From, To int // generations
	// AffectedClients says which clients are refused, where that cannot be helped; "" when none is.
	AffectedClients string
}

// Phase of a re-key, derived from what was observed.
type Phase string

// The phases.
const (
	Preparing   Phase = "Preparing"   // the new authority is being trusted everywhere, and signs nothing yet
	Reissuing   Phase = "Reissuing"   // it signs; leaf after leaf is replaced
	Soaking     Phase = "Soaking"     // nothing that is stored or served is the old one's, which stays trusted for a while
	Retiring    Phase = "Retiring"    // the old one is being dropped from every bundle
	RollingBack Phase = "RollingBack" // the new one was withdrawn; leaf after leaf is the old one's again
)

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
	TrustNew         Op = "TrustNew"         // make the next generation and store it: from then on every bundle is to hold it
	SwitchSigner     Op = "SwitchSigner"     // from now on the new authority signs
	RollBack         Op = "RollBack"         // from now on the old authority signs again, and the new one is on its way out
	DropOld          Op = "DropOld"          // from now on no bundle is to hold an authority that nothing uses
	DiscardAuthority Op = "DiscardAuthority" // delete the Secret of an authority that was dropped and that no bundle holds
	AdmitAnchor      Op = "AdmitAnchor"      // note an anchor from elsewhere: from then on every bundle is to hold it
	NoteUnused       Op = "NoteUnused"       // note since when nothing needs an anchor from elsewhere
	DropAnchor       Op = "DropAnchor"       // from now on no bundle is to hold an anchor from elsewhere
	PublishTrust     Op = "PublishTrust"     // write the ConfigMap with the bundle for clients
	Publish          Op = "Publish"          // write a party's material
	Discard          Op = "Discard"          // delete material that nobody wants or uses any more
	Activate         Op = "Activate"         // ask a pod to use its party's material
	Nudge            Op = "Nudge"            // make the kubelet look again at a pod that was asked and has not got the files
	Prove            Op = "Prove"            // handshake with each port of a pod
	Revoke           Op = "Revoke"           // note that certificates of applications must not be accepted any longer
	EndSessions      Op = "EndSessions"      // end a pod's sessions that came in with revoked certificates
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
	// Adopt are the domains in which Publish has the process present the custom certificate that is wanted; Own those in which
	// it presents the party's own leaf again. In the others it goes on presenting what it does.
	Adopt, Own []Domain
	Anchor     string // AdmitAnchor, NoteUnused, DropAnchor: fingerprint
	Pod        string // of Activate, Prove
	// Revision to activate. "" after a Publish in the same plan: the one that it made.
	Revision string
	Copy     bool // ReleaseAuthority: the copy and not the original
	// Signer is the generation on whose Secret RollBack and DropOld are noted: the one that signs from then on.
	Signer int
	// Bridged: TrustNew makes bridges between the new authority and the one that signs.
	Bridged bool
	// Serials that Revoke is about.
	Serials []string
	// Message says more about Reason where there is more to say, for people.
	Message string
}

// String returns the step in words.
func (s Step) String() string {
	switch s.Op {
	case CreateAuthority, CopyAuthority, ReleaseAuthority, RestoreAuthority, TrustNew, SwitchSigner, RollBack, DropOld, DiscardAuthority:
		return fmt.Sprintf("%s %s g%d (%s)", s.Op, s.Domain, s.Generation, s.Reason)
	case Publish:
		return fmt.Sprintf("%s %s %v%s (%s)", s.Op, s.Party, s.Reissue, s.customs(), s.Reason)
	case AdmitAnchor, NoteUnused, DropAnchor:
		return fmt.Sprintf("%s %s %.12s %s (%s)", s.Op, s.Domain, s.Anchor, s.Message, s.Reason)
	case Activate:
		return fmt.Sprintf("%s %s %s (%s)", s.Op, s.Pod, s.Revision, s.Reason)
	case Discard:
		return fmt.Sprintf("%s %s (%s)", s.Op, s.Party, s.Reason)
	case Revoke:
		return fmt.Sprintf("%s %v (%s)", s.Op, s.Serials, s.Reason)
	case Prove, Nudge, EndSessions:
		return fmt.Sprintf("%s %s (%s)", s.Op, s.Pod, s.Reason)
	case PublishTrust:
		return fmt.Sprintf("%s (%s)", s.Op, s.Reason)
	}
	return string(s.Op)
}

// customs says what the process is to present from then on, where that changes.
func (s Step) customs() (text string) {
	if len(s.Adopt) > 0 {
		text += fmt.Sprintf(" custom %v", s.Adopt)
	}
	if len(s.Own) > 0 {
		text += fmt.Sprintf(" own %v", s.Own)
	}
	return text
}

// Blocker says for whom and why the rotation waits.
type Blocker struct {
	Party   string // a pod, a Secret or a domain's authority
	Reason  Reason
	Message string // the fact and the remedy
}

// Patient reports whether a blocker is a wait that was chosen: everything is served as it should be meanwhile.
func (b Blocker) Patient() bool {
	switch b.Reason {
	case CertificatesOutstanding, AwaitingTrustPropagation, AwaitingSoak, AwaitingApproval, AwaitingOtherDomain, RotationPaused, RekeyRolledBack, NothingToRollBack, AwaitingWindow, WindowUnreachable:
		return true
	default:
		return false
	}
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
	ReasonChainChanged        Reason = "ChainChanged"        // other bridges are to be presented with a leaf
	ReasonCustomChanged       Reason = "CustomChanged"       // another custom certificate is to be presented, or none
	ReasonWanted              Reason = "Wanted"              // a Secret or ConfigMap that the spec names holds the anchor
)

// Why an authority is re-keyed, switched, rolled back or dropped, besides Due, Requested, KeyAlgorithmChanged and what is wrong with it.
const (
	ReasonTainted       Reason = "Tainted"       // somebody said that it must not be trusted any longer
	ReasonTrusted       Reason = "Trusted"       // every verifier holds the new authority
	ReasonRolledBack    Reason = "RolledBack"    // somebody asked to undo it
	ReasonClientsRefuse Reason = "ClientsRefuse" // clients refuse what is served, far more than before
	ReasonUnused        Reason = "Unused"        // nothing that is stored or served was issued by it
	ReasonUntrusted     Reason = "UntrustedNow"  // no bundle holds it any more
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
	AgentUnreachable         Reason = "AgentUnreachable"         // the agent gives no report
	AgentRefused             Reason = "AgentRefused"             // the agent says why it did not activate
	AwaitingActivation       Reason = "AwaitingActivation"       // the agent was asked and has not done it yet
	NotProven                Reason = "NotProven"                // the operator's handshake failed
	StillServingOld          Reason = "StillServingOld"          // the handshake shows another leaf than the published one
	ForeignSecret            Reason = "ForeignSecret"            // a Secret of the wanted name belongs to somebody else
	MaterialUnknown          Reason = "MaterialUnknown"          // the Secret, or the clients' ConfigMap, could not be read
	ForeignConfigMap         Reason = "ForeignConfigMap"         // a ConfigMap of the wanted name belongs to somebody else
	AuthorityLost            Reason = "AuthorityLost"            // a generation is in use and its Secret is gone
	AuthorityUnreadable      Reason = "AuthorityUnreadable"      // its Secret does not hold a usable authority
	AuthorityForeign         Reason = "AuthorityForeign"         // a Secret of its name belongs to somebody else
	AuthorityExpired         Reason = "AuthorityExpired"         // it can sign nothing any more
	AuthorityNotYetValid     Reason = "AuthorityNotYetValid"     // its time has not come: a clock is wrong
	AuthorityEnding          Reason = "AuthorityEnding"          // a leaf cannot be renewed because it ends with its authority already
	TrustNotLoaded           Reason = "TrustNotLoaded"           // a process is not known to have loaded the new authority
	AwaitingTrustPropagation Reason = "AwaitingTrustPropagation" // clients are given time to take a new authority that nothing vouches for
	AwaitingSoak             Reason = "AwaitingSoak"             // the old authority stays trusted for a while
	AwaitingApproval         Reason = "AwaitingApproval"         // the old authority is dropped only when a person says so
	AwaitingOtherDomain      Reason = "AwaitingOtherDomain"      // one authority is re-keyed at a time
	RotationPaused           Reason = "RotationPaused"           // spec.tls.rotation.paused
	RekeyRolledBack          Reason = "RekeyRolledBack"          // a re-key was rolled back and is not tried again until asked
	CustomEnded              Reason = "CustomEnded"              // a custom certificate ends, there is no newer one, and the own leaf takes its place
	StillInUse               Reason = "StillInUse"               // material of a party that is going away, or a session, is of the old authority
	SessionsUnknown          Reason = "SessionsUnknown"          // nobody knows with whose certificates the sessions of a pod came in
	NothingToRollBack        Reason = "NothingToRollBack"        // somebody asked to undo a re-key, and there is none that can be undone
)
