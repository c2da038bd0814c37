package report

import (
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// failureBlockers tell of the steps that failed and that no plan knows of. Those about Certificates hold up no more than their own
// condition says.
func failureBlockers(s *snapshot.Snapshot, decided plan.Plan) (blockers []plan.Blocker) {
	for _, failed := range s.Observed.Failures {
		if ofCertificate(failed) || slices.ContainsFunc(decided.Blockers, func(b plan.Blocker) bool { return b.Message == failureMessage(failed) }) {
			continue
		}
		blockers = append(blockers, plan.Blocker{Party: failed.Object, Reason: reason.StepFailed, Message: failureMessage(failed)})
	}
	return blockers
}

func ofCertificate(failed facts.Failure) bool {
	return strings.HasPrefix(failed.Object, certmanager.CertificateKind+" ")
}

func failureMessage(failed facts.Failure) string { return failed.Step + ": " + failed.Message }

// notConverged is the reason of a blocker: each plan had steps, again and again.
const notConverged reason.Code = "NotConverged"

// NotConverged is a plan that was executed in so many rounds, and had steps still.
func NotConverged(decided plan.Plan, rounds int) plan.Plan {
	decided.State = plan.Waiting
	decided.Blockers = slices.Concat([]plan.Blocker{{Party: "plan", Reason: notConverged, Message: fmt.Sprintf(
		"the plan still has steps after %d rounds: see which object another program changes at the same time; the operator tries again", rounds)}}, decided.Blockers)
	return decided
}
