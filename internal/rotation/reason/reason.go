// Package reason holds the closed set of codes that say why a step is taken or what a rotation waits for. A code reads the
// same in status, events, metrics and logs; docs/reasons.md has the remedy of each.
package reason

// Code is one reason, in CamelCase.
type Code string

// Reasons to issue a leaf or to write a bundle.
const (
	Missing             Code = "Missing"             // there is no Secret
	Damaged             Code = "Damaged"             // the Secret was altered, or does not parse, or its key does not match
	NamesChanged        Code = "NamesChanged"        // a wanted name is not in the leaf
	KeyAlgorithmChanged Code = "KeyAlgorithmChanged" // another kind of key is wanted
	IssuerNotActive     Code = "IssuerNotActive"     // the active authority did not sign the leaf
	Due                 Code = "Due"                 // the renewal time has come
	NotYetValid         Code = "NotYetValid"         // a clock that was ahead issued the leaf
	Requested           Code = "Requested"           // the user asked for it
	Unwanted            Code = "Unwanted"            // the party is gone, as with an instance that was scaled away
	TrustChanged        Code = "TrustChanged"        // a bundle is not the wanted one
	ChainChanged        Code = "ChainChanged"        // other bridges are to be presented with a leaf
	CustomChanged       Code = "CustomChanged"       // another custom certificate is to be presented, or none
	Wanted              Code = "Wanted"              // a Secret or ConfigMap that the spec names holds the anchor
	Revoked             Code = "Revoked"             // the leaf is revoked, or the revocation lists are not the wanted ones
)

// Reasons to re-key, switch, roll back or drop an authority, besides Due, Requested, KeyAlgorithmChanged and its problems.
const (
	Tainted       Code = "Tainted"       // the user marked the authority as compromised
	Trusted       Code = "Trusted"       // every verifier holds the new authority
	RolledBack    Code = "RolledBack"    // the user asked to undo the re-key
	ClientsRefuse Code = "ClientsRefuse" // clients refuse what is served, far more than before
	Unused        Code = "Unused"        // nothing that is stored or served was issued by the authority
	UntrustedNow  Code = "UntrustedNow"  // no bundle holds the authority any more
)

// Reasons to activate or prove a pod, or to store an authority.
const (
	Published       Code = "Published"       // new material is published for the pod
	Undelivered     Code = "Undelivered"     // the kubelet has not delivered the revision that the pod was asked to use
	Unproven        Code = "Unproven"        // the agent reports the revision as active, and no handshake has shown it yet
	FirstGeneration Code = "FirstGeneration" // the domain has no authority yet
	SecretMissing   Code = "SecretMissing"   // one of the two Secrets of the authority is gone
)

// Reasons to wait.
const (
	AgentUnreachable         Code = "AgentUnreachable"         // the agent gives no report
	AgentRefused             Code = "AgentRefused"             // the agent says why it did not activate
	AwaitingActivation       Code = "AwaitingActivation"       // the agent was asked and has not done it yet
	NotProven                Code = "NotProven"                // the operator's handshake failed
	StillServingOld          Code = "StillServingOld"          // the handshake shows another leaf than the published one
	ForeignSecret            Code = "ForeignSecret"            // a Secret of the wanted name is not the cluster's
	MaterialUnknown          Code = "MaterialUnknown"          // the Secret, or the clients' ConfigMap, could not be read
	ForeignConfigMap         Code = "ForeignConfigMap"         // a ConfigMap of the wanted name is not the cluster's
	AuthorityLost            Code = "AuthorityLost"            // a generation is in use and its Secret is gone
	AuthorityUnreadable      Code = "AuthorityUnreadable"      // its Secret does not hold a usable authority
	AuthorityForeign         Code = "AuthorityForeign"         // a Secret of its name is not the cluster's
	AuthorityExpired         Code = "AuthorityExpired"         // the authority can sign nothing any more
	AuthorityNotYetValid     Code = "AuthorityNotYetValid"     // its time has not come: a clock is wrong
	AuthorityEnding          Code = "AuthorityEnding"          // a leaf cannot be renewed because it ends with its authority already
	TrustNotLoaded           Code = "TrustNotLoaded"           // a process is not known to have loaded the new authority
	AwaitingTrustPropagation Code = "AwaitingTrustPropagation" // clients are given time to take a new anchor that nothing vouches for
	AwaitingSoak             Code = "AwaitingSoak"             // the old authority stays trusted for a while
	AwaitingApproval         Code = "AwaitingApproval"         // the next step needs a person's approval
	AwaitingOtherDomain      Code = "AwaitingOtherDomain"      // one authority is re-keyed at a time
	RotationPaused           Code = "RotationPaused"           // spec.tls.rotation.paused
	RekeyRolledBack          Code = "RekeyRolledBack"          // a re-key was rolled back and is not tried again until asked
	CustomEnded              Code = "CustomEnded"              // a custom certificate ends, there is no newer one, and the own leaf takes its place
	StillInUse               Code = "StillInUse"               // material of a party that is going away, or a session, is of the old authority
	SessionsUnknown          Code = "SessionsUnknown"          // the issuers of the sessions of a pod are not known
	NothingToRollBack        Code = "NothingToRollBack"        // the user asked to undo a re-key, and there is none that can be undone
	CertificatesOutstanding  Code = "CertificatesOutstanding"  // applications may still hold certificates of an authority that is to be dropped
	LedgerUnreadable         Code = "LedgerUnreadable"         // what was issued to applications cannot be read
	CRLMissing               Code = "CRLMissing"               // certificates are revoked, and an authority that PostgreSQL accepts has no revocation list
	AwaitingWindow           Code = "AwaitingWindow"           // no maintenance window is open
	WindowUnreachable        Code = "WindowUnreachable"        // a certificate becomes urgent before a window opens, and then waits for none
	PolicyInvalid            Code = "PolicyInvalid"            // the spec asks for invalid certificate settings, or has unparsable windows
	StepFailed               Code = "StepFailed"               // a step failed and is tried again with growing pauses
)

// Expected reports whether a wait is as planned: every endpoint serves meanwhile what it should.
func (c Code) Expected() bool {
	switch c {
	case CertificatesOutstanding, AwaitingTrustPropagation, AwaitingSoak, AwaitingApproval, AwaitingOtherDomain, RotationPaused, RekeyRolledBack,
		NothingToRollBack, AwaitingWindow, WindowUnreachable:
		return true
	default:
		return false
	}
}
