package tls

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// doubts remembers the clusters of which the cache is known not to hold everything: some object bears no label, or a step was answered
// in a way that what was observed does not explain.
type doubts struct {
	mu       sync.Mutex
	clusters map[types.NamespacedName]bool
}

func (d *doubts) of(cluster types.NamespacedName) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clusters[cluster]
}

func (d *doubts) set(cluster types.NamespacedName, doubt bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clusters == nil {
		d.clusters = map[types.NamespacedName]bool{}
	}
	if doubt {
		d.clusters[cluster] = true
	} else {
		delete(d.clusters, cluster)
	}
}

// sourceFor says where a cluster is to be read from. That nothing has changed the cache may say; what is not explained by it, and what
// was tried and failed, is looked at past it.
func (r *Reconciler) sourceFor(cluster types.NamespacedName) gather.Source {
	if r.doubts.of(cluster) || r.writes.Doubtful(cluster) || len(r.failures.of(cluster)) > 0 {
		return gather.PastCache
	}
	return gather.FromCache
}

// mayTake reports whether work may be done that was decided on an observation. What was read from the cache is evidence for no gate: it
// allows only to make what is not there, while no pod is there either. Should it be there after all, the API server refuses, and
// the cluster is looked at past the cache.
func (w *work) mayTake(s *snapshot.Snapshot) bool {
	return s.PastCache || !s.HasPods && !slices.ContainsFunc(slices.Concat(w.lanes...), func(j job) bool { return !j.makes })
}

// makes reports whether a step can do nothing but make an object under a name that is known beforehand.
func makes(s *snapshot.Snapshot, step plan.Step) bool {
	switch step := step.(type) {
	case plan.CreateAuthority:
		return step.Generation == 1 // of a later one the name would not be taken by what the cache lacks
	case plan.RestoreAuthority:
		return true
	case plan.Publish:
		party := s.Party(step.Party)
		return party != nil && !party.Kind.InLedger && s.Material[step.Party] == nil // an application's is noted in the ledger
	case plan.PublishTrust:
		return s.PublicTrust == nil
	}
	return false
}

// clusterOf names the cluster that an object is of.
func clusterOf(object client.Object) (cluster types.NamespacedName, known bool) {
	switch object.(type) {
	case *v1beta1.PostgresCluster:
		return client.ObjectKeyFromObject(object), true
	case *corev1.Secret, *corev1.ConfigMap, *corev1.Pod:
	default:
		return cluster, false // no cache is asked for it
	}
	cluster.Namespace, cluster.Name = object.GetNamespace(), object.GetLabels()[desired.ClusterLabel]
	if owner := metav1.GetControllerOf(object); cluster.Name == "" && owner != nil {
		cluster.Name = owner.Name
	}
	return cluster, cluster.Name != ""
}
