package snapshot

import "time"

// Failure is a step that failed, and that is tried again after a while. Its texts are the same at each attempt.
type Failure struct {
	Lane   string // what the failure holds up
	Step   string // what was to be done, without what differs from one attempt to the next
	Object string // that was to be written, with its kind
	Cause  string // kube.Cause, kube.Reason, or CauseViolation
	Fact   string // the cause in words
	Remedy string
	Since  time.Time // of the first attempt
	Count  int       // of attempts
	Next   time.Time // attempt
}

// CauseViolation is the cause of a failure where a step would break an invariant of docs/rotation.md.
const CauseViolation = "InvariantViolated"
