package act

import "errors"

// Error is why a step was not taken, for a reason of the operator's own. Its texts are the same at each attempt.
type Error struct {
	Cause  CauseReason
	Fact   string
	Remedy string
}

func (e *Error) Error() string { return e.Fact + ": " + e.Remedy }

// CauseReason is why a step was not taken.
type CauseReason string

// Why steps are not taken.
const (
	NoSigner      CauseReason = "NoSigner"      // no authority can sign
	NotAtHand     CauseReason = "NotAtHand"     // a certificate of the plan is not known
	NotRefused    CauseReason = "NotRefused"    // it was not seen that what an authority issues is refused
	Unproven      CauseReason = "Unproven"      // the content of material was not verified
	LedgerFull    CauseReason = "LedgerFull"    // a user has as many certificates as can be noted
	HeldImmutable CauseReason = "HeldImmutable" // an immutable Secret is being deleted, and finalizers hold it
)

var (
	errNoSigner   = &Error{NoSigner, "the authority has no key that can sign", "see the blocker of the authority"}
	errNotAtHand  = &Error{NotAtHand, "a certificate that the plan names is not known", "none is needed unless it stays"}
	errNotRefused = &Error{NotRefused, "it was not seen that what the authority issues is refused", "see the pods of the cluster"}
	errUnproven   = &Error{Unproven, "the content of the material was not verified", "report it: this is a fault of the operator"}
)

// ErrNotRefused: an authority is not deleted without the proof.
var ErrNotRefused error = errNotRefused

// ErrLookAgain ends a lane early: what was written is to be observed first.
var ErrLookAgain = errors.New("to be observed again")
