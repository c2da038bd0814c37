package harness

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOf(t *testing.T) {
	hundred := make([]time.Duration, 0, 100)
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, time.Duration(i)*time.Millisecond)
	}
	tests := map[string]struct {
		durations []time.Duration
		want      *Spread
	}{
		"nothing was measured":       {want: nil},
		"one value is all of them":   {durations: []time.Duration{240 * time.Millisecond}, want: &Spread{Count: 1, P50: 240, P99: 240, Max: 240}},
		"nearest rank, in any order": {durations: hundred, want: &Spread{Count: 100, P50: 50, P99: 99, Max: 100}},
		"p99 of few is the largest":  {durations: []time.Duration{3 * time.Second, time.Second, 2 * time.Second}, want: &Spread{Count: 3, P50: 2000, P99: 3000, Max: 3000}},
		"tenths of milliseconds":     {durations: []time.Duration{1234567 * time.Nanosecond}, want: &Spread{Count: 1, P50: 1.2, P99: 1.2, Max: 1.2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, SpreadOf(test.durations)); diff != "" {
				t.Errorf("spread (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFiguresAsJSON(t *testing.T) {
	figures := Figures{
		Story: "renew-on-request", Seconds: 91.5, Connections: 4000, SessionsOpened: 12,
		TimeToServedMs: &Spread{Count: 150, P50: 230, P99: 900, Max: 1200},
	}
	figures.Fact("renewals", 30)
	directory := t.TempDir()
	if err := figures.Write(directory); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(directory, "renew-on-request.json"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "story": "renew-on-request",
  "seconds": 91.5,
  "connections": 4000,
  "failed": 0,
  "sessionsOpened": 12,
  "sessionsLost": 0,
  "timeToServedMs": {
    "count": 150,
    "p50": 230,
    "p99": 900,
    "max": 1200
  },
  "facts": {
    "renewals": 30
  }
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}
