package logtail

import (
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
)

const (
	mostRefused  = 4           // entries that are told
	refusedPause = time.Second // between reports because of a changed count: a storm of refusals is none of reports
)

// refusals counts by what was served when a client refused it. A line of the log belongs to the entry during which
// it was written, however late it is read: each entry begins at the place where the log ended.
type refusals struct {
	path string // of the log

	mu       sync.Mutex
	readable bool
	entries  []refusal // newest first
	toldAt   time.Time // last change of a count
}

// refusal is an entry: as it is told, and as it is.
type refusal struct {
	told  agentapi.Refused
	count uint64
	last  string
	from  int64 // its lines end behind this place in the log
}

func newRefusals(path string) *refusals { return &refusals{path: path} }

// begin opens an entry for what is seen to be served from now on.
func (r *refusals) begin(revision, issuer string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) > 0 {
		r.entries[0].told.Until = &now
	}
	entry := refusal{told: agentapi.Refused{Revision: revision, Issuer: issuer, Since: now}, from: r.logEnd()}
	r.entries = slices.Insert(r.entries, 0, entry)
	r.entries = r.entries[:min(len(r.entries), mostRefused)]
}

func (r *refusals) logEnd() int64 {
	info, err := os.Stat(r.path)
	if err != nil {
		return 0 // whatever it will hold is written from now on
	}
	return info.Size()
}

// add counts a line that ends at a place of the log. What was written before anything was seen to be served by this
// process counts for nothing.
func (r *refusals) add(alert string, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.entries {
		if entry := &r.entries[i]; end > entry.from {
			entry.count++
			entry.last = alert
			return
		}
	}
}

// restart says that the log begins anew: places in it mean nothing any more.
func (r *refusals) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.entries {
		r.entries[i].from = math.MaxInt64
	}
	if len(r.entries) > 0 {
		r.entries[0].from = 0
	}
}

// setReadable says whether there is a log to read. Without one nothing is told, because nothing is known.
func (r *refusals) setReadable(readable bool) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = r.readable != readable
	r.readable = readable
	return changed
}

// tell makes changed counts those that are told, or returns how long that has to wait. Zero and false: nothing has changed.
func (r *refusals) tell(now time.Time) (changed bool, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.entries, func(e refusal) bool { return e.count != e.told.Count }) {
		return false, 0
	}
	if since := now.Sub(r.toldAt); since >= 0 && since < refusedPause { // a clock that was set back holds up nothing
		return false, refusedPause - since
	}
	for i := range r.entries {
		r.entries[i].told.Count, r.entries[i].told.Last = r.entries[i].count, r.entries[i].last
	}
	r.toldAt = now
	return true, 0
}

// told is for the report.
func (r *refusals) told() []agentapi.Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.readable {
		return nil
	}
	var told []agentapi.Refused
	for _, entry := range r.entries {
		told = append(told, entry.told)
	}
	return told
}
