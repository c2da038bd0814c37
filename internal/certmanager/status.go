package certmanager

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Status is what cert-manager says of a Certificate. It is for a person to read: what the Secret holds is found out by
// looking into it.
type Status struct {
	// Ready: what the Secret holds answers the spec as it is now and has not ended. Also while its successor is being issued.
	Ready bool
	// Reason and Message are cert-manager's own words about what is going on or has failed. Both are empty while it has said
	// nothing, as when it does not run.
	Reason, Message string
	// NotAfter of the certificate, and when cert-manager means to renew it; zero when it does not say.
	NotAfter, RenewalTime time.Time
}

// StatusOf reads a Certificate. Whatever is absent or malformed counts as not said.
func StatusOf(certificate *unstructured.Unstructured) Status {
	if certificate == nil {
		return Status{}
	}
	ready, issuing := conditionOf(certificate, "Ready"), conditionOf(certificate, "Issuing")
	status := Status{
		Ready:       ready.status == "True" && !ready.outdated,
		Reason:      ready.reason,
		Message:     ready.message,
		NotAfter:    instant(certificate, "notAfter"),
		RenewalTime: instant(certificate, "renewalTime"),
	}
	// cert-manager removes Issuing once it has succeeded, so what stands there is news: it is at it, or has failed.
	if issuing.reason != "" {
		status.Reason, status.Message = issuing.reason, issuing.message
	}
	return status
}

type condition struct {
	status, reason, message string
	outdated                bool // it was written about an earlier spec
}

func conditionOf(certificate *unstructured.Unstructured, kind string) condition {
	conditions, _, _ := unstructured.NestedFieldNoCopy(certificate.Object, "status", "conditions")
	list, _ := conditions.([]any)
	for _, item := range list {
		fields, _ := item.(map[string]any)
		if text(fields, "type") != kind {
			continue
		}
		observed, isKnown := fields["observedGeneration"].(int64)
		return condition{
			status: text(fields, "status"), reason: text(fields, "reason"), message: text(fields, "message"),
			outdated: isKnown && observed < certificate.GetGeneration(),
		}
	}
	return condition{}
}

func text(fields map[string]any, key string) string {
	value, _ := fields[key].(string)
	return value
}

func instant(certificate *unstructured.Unstructured, field string) time.Time {
	value, _, _ := unstructured.NestedFieldNoCopy(certificate.Object, "status", field)
	written, _ := value.(string)
	at, err := time.Parse(time.RFC3339, written)
	if err != nil {
		return time.Time{}
	}
	return at
}
