package decide

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Restarts remembers which instances were restarted for the present generation of the spec. Patroni notices only at its next
// loop that a restart is pending no more; and a replica cannot take a smaller max_connections before the
// primary has it, so it still asks for a restart after one. An operator that forgets this restarts an instance once more.
type Restarts struct {
	mu    sync.Mutex
	known map[types.NamespacedName]restarted
}

type restarted struct {
	uid        types.UID
	generation int64
	instances  map[string]bool
}

// NewRestarts remember nothing.
func NewRestarts() *Restarts { return &Restarts{known: map[types.NamespacedName]restarted{}} }

// Of returns the instances that were restarted for this generation of this cluster.
func (r *Restarts) Of(cluster types.NamespacedName, uid types.UID, generation int64) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[cluster]
	if known.uid != uid || known.generation != generation {
		return nil
	}
	copied := map[string]bool{}
	for instance := range known.instances {
		copied[instance] = true
	}
	return copied
}

// Note remembers a restart. With that of the primary the others may be restarted again.
func (r *Restarts) Note(cluster types.NamespacedName, uid types.UID, generation int64, instance string, primary bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[cluster]
	if primary || known.uid != uid || known.generation != generation {
		known = restarted{uid: uid, generation: generation, instances: map[string]bool{}}
	}
	known.instances[instance] = true
	r.known[cluster] = known
}

// Forget a cluster.
func (r *Restarts) Forget(cluster types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, cluster)
}
