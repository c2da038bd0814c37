package gather

import (
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/pki"
)

func TestWhenALeafWasIssuedIsWorkedOut(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, time.Hour, 100 * time.Minute, 101 * time.Minute, 720 * time.Hour} {
		now := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
		if got := issuedAt(pki.CertificateFacts{NotBefore: now.Add(-wanted.Backdate(life)), NotAfter: now.Add(life)}); got.Sub(now).Abs() > time.Second {
			t.Errorf("a leaf that lives for %s was issued at %s, want %s", life, got, now)
		}
	}
}
