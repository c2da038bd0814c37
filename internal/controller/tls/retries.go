package tls

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// retries counts how often in a row a cluster was found waiting, for pauses that grow.
type retries struct {
	mu    sync.Mutex
	count map[types.NamespacedName]int
}

func newRetries() *retries { return &retries{count: map[types.NamespacedName]int{}} }

// after returns the pause until a waiting cluster is looked at again; 0 for one that does not wait.
func (r *retries) after(cluster types.NamespacedName, waiting bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !waiting {
		delete(r.count, cluster)
		return 0
	}
	n := r.count[cluster]
	r.count[cluster] = n + 1
	return min(retryMin<<min(n, 5), retryMax)
}
