package certmanager

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func says(kind, status, reason, message string, observed int64) map[string]any {
	return map[string]any{"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": observed}
}

// certificate of generation 2 with this status.
func certificate(status map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": int64(2)}, "status": status}}
}

func TestStatusIsWhatCertManagerSaysNow(t *testing.T) {
	ready := says("Ready", "True", "Ready", "Certificate is up to date and has not expired", 2)
	for name, c := range map[string]struct {
		conditions []any
		want       Status
	}{
		"nothing yet": {nil, Status{}},
		"ready":       {[]any{ready}, Status{Ready: true, Reason: "Ready", Message: "Certificate is up to date and has not expired"}},
		"first": {[]any{says("Ready", "False", "DoesNotExist", "no Secret", 2), says("Issuing", "True", "DoesNotExist", "issuing", 2)},
			Status{Reason: "DoesNotExist", Message: "issuing"}},
		"renewing": {[]any{says("Issuing", "True", "Renewing", "at it", 2), ready},
			Status{Ready: true, Reason: "Renewing", Message: "at it"}},
		"failed, the old one is good": {[]any{ready, says("Issuing", "False", "Failed", "the issuer refused", 2)},
			Status{Ready: true, Reason: "Failed", Message: "the issuer refused"}},
		"ready for an earlier spec": {[]any{says("Ready", "True", "Ready", "up to date", 1)},
			Status{Reason: "Ready", Message: "up to date"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, StatusOf(certificate(map[string]any{"conditions": c.conditions}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStatusHasTheTimes(t *testing.T) {
	got := StatusOf(certificate(map[string]any{"notAfter": "2026-11-25T18:00:00Z", "renewalTime": "2026-11-25T17:55:00Z"}))
	want := Status{NotAfter: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC), RenewalTime: time.Date(2026, 11, 25, 17, 55, 0, 0, time.UTC)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsMalformedCountsAsNotSaid(t *testing.T) {
	for name, c := range map[string]*unstructured.Unstructured{
		"no object":                   nil,
		"empty":                       {},
		"status is a text":            {Object: map[string]any{"status": "fine"}},
		"conditions are a text":       certificate(map[string]any{"conditions": "Ready"}),
		"a condition is a text":       certificate(map[string]any{"conditions": []any{"Ready"}}),
		"a condition is null":         certificate(map[string]any{"conditions": []any{nil}}),
		"a condition has other types": certificate(map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": true, "observedGeneration": "2"}}}),
		"times are none":              certificate(map[string]any{"notAfter": "tomorrow", "renewalTime": int64(7)}),
		"times are null":              certificate(map[string]any{"notAfter": nil}),
	} {
		if got := StatusOf(c); got != (Status{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"metadata":{"generation":2},"status":{"conditions":[{"type":"Ready","status":"True","observedGeneration":2}],"notAfter":"2026-11-25T18:00:00Z"}}`))
	f.Fuzz(func(_ *testing.T, content []byte) {
		var u unstructured.Unstructured
		if u.UnmarshalJSON(content) == nil {
			StatusOf(&u)
		}
	})
}
