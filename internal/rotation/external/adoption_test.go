package external

import (
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestTheFallbackOfAShortLifeIsATwelfth(t *testing.T) {
	begin := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	for life, want := range map[time.Duration]time.Duration{time.Hour: 55 * time.Minute, 90 * 24 * time.Hour: 90*24*time.Hour - fallbackBefore} {
		c := facts.Custom{NotBefore: begin, NotAfter: begin.Add(life)}
		if got := endsFrom(&c).Sub(begin); got != want {
			t.Errorf("a life of %s: the own leaf takes the place after %s, want %s", life, got, want)
		}
	}
}
