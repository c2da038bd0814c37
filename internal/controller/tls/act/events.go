package act

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/rotation/reason"
)

// because is the reason of a step, and what more there is to say about it.
func because(code reason.Code, message string) string {
	if message == "" {
		return string(code)
	}
	return string(code) + ": " + message
}

// Types and reasons of events.
const (
	eventNormal        = corev1.EventTypeNormal
	eventWarning       = corev1.EventTypeWarning
	eventIssued        = "Issued"
	eventActivated     = "Activated"
	eventRevoked       = "Revoked"
	eventSessionsEnded = "SessionsEnded"

	eventSignerSwitched     = "SignerSwitched"
	eventRolledBack         = "RolledBack"
	eventAuthorityDropped   = "AuthorityDropped"
	eventAuthorityDiscarded = "AuthorityDiscarded"
	eventAnchorAdmitted     = "AnchorAdmitted"
	eventAnchorUnused       = "AnchorUnused"
	eventAnchorDropped      = "AnchorDropped"
)

// sendEvent tells of a step that was taken.
func sendEvent(v *round, kind, code, format string, args ...any) {
	v.Events.Eventf(v.Cluster, nil, kind, code, "Rotate", format, args...)
}
