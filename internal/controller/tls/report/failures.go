package report

import (
	"fmt"

	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation"
)

// StepFailed is the reason of a blocker: a step failed and is tried again.
const StepFailed rotation.Reason = "StepFailed"

// failureBlockers say what failed, why, and what helps. Their text is the same at each attempt.
func failureBlockers(failures []snapshot.Failure) (blockers []rotation.Blocker) {
	for _, f := range failures {
		blockers = append(blockers, rotation.Blocker{Party: f.Object, Reason: StepFailed, Message: failureMessage(f)})
	}
	return blockers
}

func failureMessage(f snapshot.Failure) string {
	text := fmt.Sprintf("%s failed (%s)", f.Step, f.Cause)
	if f.Detail != "" {
		text = fmt.Sprintf("%s failed (%s: %s)", f.Step, f.Cause, f.Detail)
	}
	return text + ": " + remedy[f.Cause] + "; the operator tries again"
}

// remedy of each cause.
var remedy = map[snapshot.CauseReason]string{
	snapshot.Denied:       "raise the quota, or give the operator's role the right",
	snapshot.Rejected:     "see the object, and the policy that rejects it",
	snapshot.ObjectExists: "rename or delete the object that has its name",
	snapshot.Unanswered:   "see whether the API server, its webhooks and the pod answer",
	snapshot.Violation:    "see docs/rotation.md, Invariants",
	snapshot.Unexplained:  "see the operator's log",
}
