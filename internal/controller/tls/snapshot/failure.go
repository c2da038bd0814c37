package snapshot

import "time"

// Failure is a step that failed, and that is tried again after a while.
type Failure struct {
	Lane   string // what the failure holds up
	Step   string // what was to be done, without what differs from one attempt to the next
	Object string // that was to be written, with its kind
	Cause  CauseReason
	Detail string // of the cause, in words that are the same at each attempt; "" when there are none
	Since  time.Time
	Count  int // of attempts
}

// CauseReason is why a step failed.
type CauseReason string

// Why steps fail.
const (
	Denied       CauseReason = "Denied"       // the API server denied it: a quota, or a right that the operator lacks
	Rejected     CauseReason = "Rejected"     // the API server or an admission policy calls the object invalid
	ObjectExists CauseReason = "ObjectExists" // an object of the wanted name exists and is not the cluster's
	Unanswered   CauseReason = "Unanswered"   // the API server, a webhook or a pod did not answer
	Violation    CauseReason = "Violation"    // an invariant of docs/rotation.md does not hold after it
	Unexplained  CauseReason = "Unexplained"  // anything else: the operator's log has the error
)
