package memo

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
)

// Renderings remembers the configuration of instances as it was rendered for a spec: while a cluster is made or changed, its reconciliations
// come one soon after another, and each needs it. That of a cluster at rest is not kept.
type Renderings struct {
	mu    sync.Mutex
	known map[types.UID]rendering
}

type rendering struct {
	generation int64
	config     *corev1.ConfigMap
	hash       string
}

// mostRenderings take about 2 MB.
const mostRenderings = 512

// NewRenderings remembers nothing.
func NewRenderings() *Renderings { return &Renderings{known: map[types.UID]rendering{}} }

// Of returns the ConfigMap of a cluster's instances, and the hash that their pods bear. The ConfigMap is the caller's.
func (r *Renderings) Of(cluster *v1beta1.PostgresCluster) (config *corev1.ConfigMap, hash string, err error) {
	if known, ok := r.find(cluster); ok {
		return known.config.DeepCopy(), known.hash, nil
	}
	if config, err = desired.InstanceConfig(cluster); err != nil {
		return nil, "", err
	}
	hash = desired.HashOfInstanceConfig(cluster, config)
	r.keep(cluster, rendering{cluster.Generation, config.DeepCopy(), hash})
	return config, hash, nil
}

func (r *Renderings) find(cluster *v1beta1.PostgresCluster) (rendering, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[cluster.UID]
	return known, ok && known.generation == cluster.Generation
}

func (r *Renderings) keep(cluster *v1beta1.PostgresCluster, made rendering) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= mostRenderings {
		clear(r.known)
	}
	r.known[cluster.UID] = made
}
