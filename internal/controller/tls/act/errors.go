package act

import "errors"

// Error is why a step was not taken, for a reason of the operator's own. Its texts are the same at each attempt.
type Error struct {
	Cause  CauseReason
	Fact   string
	Remedy string
	Err    error // for the log: it may differ from one attempt to the next
}

// Error is for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.String()
	}
	return e.String() + ": " + e.Err.Error()
}

// String is the same at each attempt.
func (e *Error) String() string { return e.Fact + ": " + e.Remedy }

func (e *Error) Unwrap() error { return e.Err }

// CauseReason is why a step was not taken.
type CauseReason string

// Why steps are not taken.
const (
	NoSigner      CauseReason = "NoSigner"      // no authority can sign
	NotAtHand     CauseReason = "NotAtHand"     // a certificate of the plan is not known
	NotRefused    CauseReason = "NotRefused"    // it was not seen that what an authority issues is refused
	PodSilent     CauseReason = "PodSilent"     // a pod did not answer, or not as it should
	Unproven      CauseReason = "Unproven"      // the content of material was not verified
	LedgerFull    CauseReason = "LedgerFull"    // a user has as many certificates as can be noted
	HeldImmutable CauseReason = "HeldImmutable" // an immutable Secret is being deleted, and finalizers hold it
)

var (
	errNoSigner   = &Error{Cause: NoSigner, Fact: "the authority has no key that can sign", Remedy: "see the blocker of the authority"}
	errNotAtHand  = &Error{Cause: NotAtHand, Fact: "a certificate that the plan names is not known", Remedy: "none is needed unless it stays"}
	errNotRefused = &Error{Cause: NotRefused, Fact: "it was not seen that what the authority issues is refused", Remedy: "see the pods of the cluster"}
	errUnproven   = &Error{Cause: Unproven, Fact: "the content of the material was not verified", Remedy: "report it: this is a fault of the operator"}
)

// ErrNotRefused: an authority is not deleted without the proof.
var ErrNotRefused error = errNotRefused

// ErrLookAgain ends a lane early: what was written is to be observed first.
var ErrLookAgain = errors.New("to be observed again")

func podSilent(pod string, err error) error {
	return &Error{Cause: PodSilent, Fact: "pod " + pod + " did not answer as it should", Remedy: "see the pod, and the NetworkPolicies between it and the operator", Err: err}
}
