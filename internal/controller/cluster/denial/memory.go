package denial

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Memory remembers since when a pod is missing, per cluster.
type Memory struct {
	mu    sync.Mutex
	known map[types.NamespacedName]*missing
}

type missing struct {
	uid        types.UID
	generation int64
	since      map[string]time.Time // by what has no pod
}

// NewMemory remembers nothing.
func NewMemory() *Memory { return &Memory{known: map[types.NamespacedName]*missing{}} }

// Begin drops what was remembered of another cluster of this name, or of an earlier spec.
func (m *Memory) Begin(cluster types.NamespacedName, uid types.UID, generation int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.known[cluster]
	if known == nil || known.uid != uid || known.generation != generation {
		m.known[cluster] = &missing{uid: uid, generation: generation, since: map[string]time.Time{}}
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
}

// Forget a cluster.
func (m *Memory) Forget(cluster types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, cluster)
}
