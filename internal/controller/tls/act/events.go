package act

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation"
)

// because is the reason of a step, and what more there is to say about it.
func because(step rotation.Step) string {
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
	eventRevoked   = string(rotation.ReasonRevoked)

	eventSessionsEnded = string(rotation.EndSessions)
)

func sendEvent(v *round, kind, reason, format string, args ...any) {
	v.Events.Eventf(v.Cluster, nil, kind, reason, "Rotate", format, args...)
}
