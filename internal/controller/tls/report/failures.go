package report

import (
	"fmt"
	"slices"

	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// StepFailed is the reason of a blocker: a step failed and is tried again.
const StepFailed reason.Code = "StepFailed"

// failureBlockers say what failed, why, and what helps. Their text is the same at each attempt.
func failureBlockers(failures []snapshot.Failure) (blockers []plan.Blocker) {
	for _, f := range failures {
		blockers = append(blockers, plan.Blocker{Party: f.Object, Reason: StepFailed, Message: failureMessage(f)})
	}
	return blockers
}

// notConverged is the reason of a blocker: each plan had steps, again and again.
const notConverged reason.Code = "NotConverged"

// NotConverged is a plan that was executed in so many rounds, and had steps still.
func NotConverged(decided plan.Plan, rounds int) plan.Plan {
	decided.State = plan.Waiting
	decided.Blockers = slices.Concat([]plan.Blocker{{Party: "plan", Reason: notConverged, Message: fmt.Sprintf(
		"the plan still has steps after %d rounds: see which object another program changes at the same time; the operator tries again", rounds)}}, decided.Blockers)
	return decided
}

func failureMessage(f snapshot.Failure) string {
	return fmt.Sprintf("%s: %s failed (%s): %s: %s; the operator tries again", f.Object, f.Step, f.Cause, f.Fact, f.Remedy)
}
