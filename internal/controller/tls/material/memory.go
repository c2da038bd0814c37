package material

import (
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Memory remembers the authorities of clusters with their keys, so that one of which both Secrets are deleted at once is stored
// again. It lasts as long as the process.
type Memory struct {
	mu       sync.Mutex
	clusters map[types.UID]map[generationKey]Remembered
	names    map[types.UID]types.NamespacedName
}

type generationKey struct {
	domain     facts.Domain
	generation int
}

// Remembered is an authority as its Secret held it.
type Remembered struct {
	Data  map[string][]byte
	Marks map[string]string // annotations that hold what was decided about it
}

// NewMemory remembers nothing yet.
func NewMemory() *Memory {
	return &Memory{clusters: map[types.UID]map[generationKey]Remembered{}, names: map[types.UID]types.NamespacedName{}}
}

// Keep remembers a generation.
func (m *Memory) Keep(name types.NamespacedName, cluster types.UID, domain facts.Domain, generation int, authority Remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clusters[cluster] == nil {
		m.clusters[cluster] = map[generationKey]Remembered{}
	}
	m.names[cluster] = name
	m.clusters[cluster][generationKey{domain, generation}] = Remembered{Data: maps.Clone(authority.Data), Marks: maps.Clone(authority.Marks)}
}

// Each calls visit with each generation of a cluster that is remembered.
func (m *Memory) Each(cluster types.UID, visit func(facts.Domain, int, Remembered)) {
	m.mu.Lock()
	known := maps.Clone(m.clusters[cluster])
	m.mu.Unlock()
	for key, authority := range known {
		visit(key.domain, key.generation, authority)
	}
}

// Forget forgets a generation that was discarded.
func (m *Memory) Forget(cluster types.UID, domain facts.Domain, generation int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.clusters[cluster], generationKey{domain, generation})
}

// ForgetCluster forgets the clusters of a name, which are gone.
func (m *Memory) ForgetCluster(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, known := range m.names {
		if known == name {
			delete(m.clusters, uid)
			delete(m.names, uid)
		}
	}
}
