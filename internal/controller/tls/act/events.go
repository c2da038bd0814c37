package act

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// because is the reason of a step, and what more there is to say about it.
func because(step plan.Step) string {
	if step.Message == "" {
		return string(step.Reason)
	}
	return string(step.Reason) + ": " + step.Message
}

// Types and reasons of events.
const (
	eventNormal    = corev1.EventTypeNormal
	eventWarning   = corev1.EventTypeWarning
	eventIssued    = "Issued"
	eventActivated = "Activated"
	eventRevoked   = string(reason.Revoked)

	eventSessionsEnded = string(plan.EndSessions)
)

func sendEvent(v *round, kind, code, format string, args ...any) {
	v.Events.Eventf(v.Cluster, nil, kind, code, "Rotate", format, args...)
}
