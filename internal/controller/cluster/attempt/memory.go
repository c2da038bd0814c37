package attempt

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// How long until a failed attempt is made again: it doubles from the first to the last.
const (
	firstRetry = time.Second
	LastRetry  = 30 * time.Second
)

// Memory remembers what failed, per cluster. A changed spec is tried at once.
type Memory struct {
	mu    sync.Mutex
	known map[types.NamespacedName]*attempts
}

type attempts struct {
	uid        types.UID
	generation int64
	failed     map[string]failedAttempt
	unreported time.Time // since when a state is not reported that goes by itself
}

type failedAttempt struct {
	Failure
	pause time.Duration
	next  time.Time
}

// NewMemory remembers nothing.
func NewMemory() *Memory { return &Memory{known: map[types.NamespacedName]*attempts{}} }

// Begin drops what was remembered of another cluster of this name, or of an earlier spec.
func (m *Memory) Begin(cluster types.NamespacedName, uid types.UID, generation int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[cluster]
	if known == nil || known.uid != uid || known.generation != generation {
		m.known[cluster] = &attempts{uid: uid, generation: generation, failed: map[string]failedAttempt{}}
	}
}

func (m *Memory) held(cluster types.NamespacedName, key string, now time.Time) (Failure, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.known[cluster].failed[key]
	return last.Failure, ok && now.Before(last.next)
}

func (m *Memory) failed(cluster types.NamespacedName, key string, f Failure, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := m.known[cluster].failed
	pause := min(max(2*entries[key].pause, firstRetry), LastRetry)
	entries[key] = failedAttempt{Failure: f, pause: pause, next: now.Add(pause)}
}

func (m *Memory) succeeded(cluster types.NamespacedName, key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known[cluster].failed, key)
}

// After returns how long until the first of the failed attempts is made again; 0: none failed.
func (m *Memory) After(cluster types.NamespacedName, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var soonest time.Duration
	for _, last := range m.known[cluster].failed {
		if pause := max(last.next.Sub(now), time.Millisecond); soonest == 0 || pause < soonest {
			soonest = pause
		}
	}
	return soonest
}

// Unreported notes that the state of a cluster is not reported, and returns since when that is so.
func (m *Memory) Unreported(cluster types.NamespacedName, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[cluster]
	if known.unreported.IsZero() {
		known.unreported = now
	}
	return known.unreported
}

// Reported notes that the state of a cluster is reported.
func (m *Memory) Reported(cluster types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[cluster].unreported = time.Time{}
}

// Forget a cluster.
func (m *Memory) Forget(cluster types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, cluster)
}
