package main

import (
	"maps"
	"sync"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// maxFailureLines keeps a cluster that is down from filling the pipe; counting goes on.
const maxFailureLines = 500

// A tally counts attempts and prints the failed ones.
type tally struct {
	out *printer

	mu      sync.Mutex
	counts  record.Counts
	printed int
}

func newTally(out *printer) *tally { return &tally{out: out, counts: record.Counts{}} }

// add counts tried attempts; each error is one of them that failed.
func (t *tally) add(target, client string, tried int, failures ...error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := target + " " + client
	count := t.counts[key]
	count.Tried += tried
	count.Failed += len(failures)
	t.counts[key] = count
	for _, err := range failures {
		if t.printed++; t.printed <= maxFailureLines {
			t.out.print(record.Line{Kind: record.Failure, Target: target, Client: client, Error: err.Error()})
		}
	}
}

func (t *tally) totals() record.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}
