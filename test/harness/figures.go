package harness

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Figures are what a story measured: _artifacts/e2e/<story>.json.
type Figures struct {
	Story   string  `json:"story"`
	Seconds float64 `json:"seconds"` // the story took

	Connections int `json:"connections"` // new ones tried
	Failed      int `json:"failed"`      // of Connections

	SessionsOpened int `json:"sessionsOpened"`
	SessionsLost   int `json:"sessionsLost"`

	TimeToServedMs *Spread `json:"timeToServedMs,omitempty"` // from Secret write to served, per pod
	StagedMs       *Spread `json:"stagedMs,omitempty"`       // from the request to the last pod

	// Facts of this story alone, by name.
	Facts map[string]any `json:"facts,omitempty"`
}

// Spread of durations, in milliseconds.
type Spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// SpreadOf returns nil for no durations.
func SpreadOf(durations []time.Duration) *Spread {
	if len(durations) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(durations))
	return &Spread{
		Count: len(sorted),
		P50:   milliseconds(percentile(sorted, 50)),
		P99:   milliseconds(percentile(sorted, 99)),
		Max:   milliseconds(sorted[len(sorted)-1]),
	}
}

// percentile by nearest rank: the smallest value that at least p percent do not exceed.
func percentile(sorted []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*10) / 10
}

// Fact notes a figure of this story alone.
func (f *Figures) Fact(name string, value any) {
	if f.Facts == nil {
		f.Facts = map[string]any{}
	}
	f.Facts[name] = value
}

// Write puts the figures into directory/<story>.json.
func (f *Figures) Write(directory string) error {
	content, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures of %s: %w", f.Story, err)
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return fmt.Errorf("making the directory of figures: %w", err)
	}
	return os.WriteFile(filepath.Join(directory, f.Story+".json"), append(content, '\n'), 0o644)
}
