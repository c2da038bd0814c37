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

// twinDiffers is the reason of a blocker: the two Secrets of an authority hold different ones.
const twinDiffers reason.Code = "TwinDiffers"

// twinBlockers name the authorities that would be lost with one of their two Secrets.
func twinBlockers(s *snapshot.Snapshot) (blockers []plan.Blocker) {
	for _, stored := range s.Authorities {
		if stored.Differ {
			blockers = append(blockers, plan.Blocker{Party: stored.Facts.Name(), Reason: twinDiffers, Domain: stored.Facts.Domain, Message: fmt.Sprintf(
				"Secrets %s and %s hold different authorities: the operator uses the one with fingerprint %s, which the cluster's bundles hold; rename or move the other Secret, and the operator stores it again",
				stored.Original.Name, stored.Twin.Name, stored.Facts.Certificate.Fingerprint)})
		}
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
