package tls

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// retries counts how often in a row a cluster was found waiting for the same, for pauses that grow.
type retries struct {
	mu      sync.Mutex
	waiting map[types.NamespacedName]waiting
}

type waiting struct {
	what  string
	count int
}

func newRetries() *retries { return &retries{waiting: map[types.NamespacedName]waiting{}} }

// after returns the pause until a cluster that waits for something is looked at
// again; 0 for one that waits for nothing.
func (r *retries) after(cluster types.NamespacedName, what string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if what == "" {
		delete(r.waiting, cluster)
		return 0
	}
	w := r.waiting[cluster]
	if w.what != what {
		w = waiting{what: what}
	}
	pause := min(retryMin<<min(w.count, 5), retryMax)
	w.count++
	r.waiting[cluster] = w
	return pause
}
