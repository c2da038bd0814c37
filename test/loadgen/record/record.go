// Package record is what loadgen prints: one JSON object per line on standard output.
package record

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Kind says which fields of a Line are set.
type Kind string

// The kinds of line.
const (
	Started Kind = "started" // everything is open and running: Sessions
	Failure Kind = "failure" // Target, Client, Error
	Totals  Kind = "totals"  // Counts, Sessions, Lost; printed now and then, and last of all
	Lost    Kind = "lost"    // Target, Error: a session that was not what it had been
	Served  Kind = "served"  // Target, Serial: a leaf is served that was not served before
)

// Line is one line.
type Line struct {
	Kind Kind      `json:"kind"`
	Time time.Time `json:"time"`

	Target string `json:"target,omitempty"`
	Client string `json:"client,omitempty"` // pgx, psql, pgbench
	Error  string `json:"error,omitempty"`
	Serial string `json:"serial,omitempty"` // lower-case hexadecimal

	Counts   Counts `json:"counts,omitempty"`
	Sessions int    `json:"sessions,omitempty"` // opened
	Lost     int    `json:"lost,omitempty"`     // of Sessions
	Final    bool   `json:"final,omitempty"`    // nothing follows
}

// Counts are attempts by "<target> <client>".
type Counts map[string]Count

// Count of attempts to connect and query.
type Count struct {
	Tried  int `json:"tried"`
	Failed int `json:"failed"`
}

// Sum of all counts.
func (c Counts) Sum() Count {
	var sum Count
	for _, count := range c {
		sum.Tried += count.Tried
		sum.Failed += count.Failed
	}
	return sum
}

// Each calls f with every line of r until r ends. A line that is no JSON object is an error that quotes it.
func Each(r io.Reader, f func(Line)) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line Line
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return fmt.Errorf("reading loadgen's line %q: %w", scanner.Text(), err)
		}
		f(line)
	}
	return scanner.Err()
}
