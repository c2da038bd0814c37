package denial

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// How long until a StatefulSet or Deployment is prompted to try again: the pause doubles from the first to the last.
const (
	firstPrompt   = 5 * time.Second
	unknownPrompt = 30 * time.Second // where nothing but an attempt shows whether the denial is over
	lastPrompt    = 5 * time.Minute
)

// Memory remembers since when a pod is missing, and when its maker was prompted, per cluster.
type Memory struct {
	mu    sync.Mutex
	known map[types.NamespacedName]*missing
}

type missing struct {
	uid        types.UID
	generation int64
	since      map[string]time.Time // by what has no pod
	prompts    map[string]prompt
}

// A prompt is the last one.
type prompt struct {
	next  time.Time
	pause time.Duration
}

// NewMemory remembers nothing.
func NewMemory() *Memory { return &Memory{known: map[types.NamespacedName]*missing{}} }

// Begin drops what was remembered of another cluster of this name, or of an earlier spec.
func (m *Memory) Begin(cluster types.NamespacedName, uid types.UID, generation int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[cluster]
	if known == nil || known.uid != uid || known.generation != generation {
		m.known[cluster] = &missing{uid: uid, generation: generation, since: map[string]time.Time{}, prompts: map[string]prompt{}}
	}
}

// Missing notes that a party has no pod, and returns since when.
func (m *Memory) Missing(cluster types.NamespacedName, party string, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.known[cluster].since
	if _, noted := since[party]; !noted {
		since[party] = now
	}
	return since[party]
}

// Present notes that a party has its pod.
func (m *Memory) Present(cluster types.NamespacedName, party string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known[cluster].since, party)
	delete(m.known[cluster].prompts, party)
}

// IsDue reports whether a party whose pod is denied is to be prompted: not while the denial lasts, nor in the pause after the last prompt.
func (m *Memory) IsDue(cluster types.NamespacedName, party string, standing Standing, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[cluster]
	if standing == Lasting || now.Before(known.prompts[party].next) {
		return false
	}
	return standing == Over || now.Sub(known.since[party]) >= unknownPrompt
}

// Prompted notes a prompt.
func (m *Memory) Prompted(cluster types.NamespacedName, party string, standing Standing, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := firstPrompt
	if standing == Unknown {
		first = unknownPrompt
	}
	prompts := m.known[cluster].prompts
	pause := min(max(2*prompts[party].pause, first), lastPrompt)
	prompts[party] = prompt{next: now.Add(pause), pause: pause}
}

// Forget a cluster.
func (m *Memory) Forget(cluster types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, cluster)
}
