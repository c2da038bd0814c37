package agent

import (
	"context"
	"crypto/rand"
	"reflect"
	"sync"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
)

// reports keeps the last report and wakes the callers that wait for a newer one.
type reports struct {
	mu      sync.Mutex
	last    agentapi.Report
	changed chan struct{} // closed with the next change
	refused func() []agentapi.Refused
}

// newReports takes what to tell of refused handshakes from refused, at each change.
func newReports(pod string, kind string, refused func() []agentapi.Refused) *reports {
	return &reports{last: agentapi.Report{Pod: pod, Kind: kind, Boot: rand.Text(), Sequence: 1}, changed: make(chan struct{}), refused: refused}
}

// publish replaces the report, unless nothing in it differs. It keeps pod, kind, boot, sequence and refusals itself.
func (r *reports) publish(next agentapi.Report) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replace(next)
}

// refresh publishes the refusals anew; everything else stays.
func (r *reports) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(r.last)
}

// replace is called with the lock held: two goroutines publish, and neither may bring back older refusals.
func (r *reports) replace(next agentapi.Report) (changed bool) {
	next.Pod, next.Kind, next.Boot, next.Sequence = r.last.Pod, r.last.Kind, r.last.Boot, r.last.Sequence
	next.Refused = r.refused()
	if reflect.DeepEqual(next, r.last) {
		return false
	}
	next.Sequence++
	r.last = next
	close(r.changed)
	r.changed = make(chan struct{})
	return true
}

func (r *reports) get() (agentapi.Report, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.changed
}

// after returns the report as soon as there is one that the caller, which has seen sequence of boot, does not know.
// It returns false when the wait is over or ctx ends first.
func (r *reports) after(ctx context.Context, boot string, sequence uint64, wait time.Duration) (agentapi.Report, bool) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		last, changed := r.get()
		if last.Boot != boot || last.Sequence > sequence {
			return last, true
		}
		select {
		case <-ctx.Done():
			return last, false
		case <-changed:
		}
	}
}
