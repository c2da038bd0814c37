package cluster

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/desired"
)

// clearLeftovers deletes Patroni's ConfigMaps of an earlier cluster of the same name. A Patroni that is going down may
// have written them anew after they were collected, and with them a new cluster would wait for
// the old one's leader for ever. Those of a restored cluster stay: they belong to its data.
func clearLeftovers(ctx context.Context, r *round) ([]Wait, error) {
	if len(r.facts.statefulSets) > 0 || r.restored() {
		return nil, nil
	}
	leftovers := r.unownedPatroniObjects()
	if len(leftovers) == 0 {
		return nil, nil
	}
	for _, instance := range slices.Sorted(maps.Keys(r.facts.pods)) {
		r.leftovers = true
		return []Wait{{Party: r.facts.pods[instance].Name, Reason: AwaitingLeftovers, Message: "the pod of an earlier cluster of this name is still there"}}, nil
	}
	for _, leftover := range leftovers {
		if r.attempt(ctx, "delete "+objectName("ConfigMap", leftover.Name), func() error { return r.applier.Delete(ctx, leftover) }) != nil {
			continue
		}
		delete(r.facts.configMaps, leftover.Name)
		r.tell(leftover, LeftoverDeleted, "Delete", "deleted ConfigMap %s of an earlier cluster of this name", leftover.Name)
	}
	return nil, nil
}

// restored reports whether data of a wanted instance is older than the PostgresCluster: it was orphaned, or comes from a backup. A claim that
// the operator made for this cluster is not older, though it may be of the same second.
func (r *round) restored() bool {
	for _, instance := range desired.Instances(r.cluster) {
		volume := r.facts.volumes[desired.VolumeName(instance.Name)]
		if volume != nil && volume.DeletionTimestamp == nil && volume.CreationTimestamp.Before(&r.cluster.CreationTimestamp) {
			return true
		}
	}
	return false
}

// adoptPatroniObjects makes the cluster the owner of what Patroni made, so that it goes with the cluster.
func adoptPatroniObjects(ctx context.Context, r *round) ([]Wait, error) {
	if r.leftovers {
		return nil, nil
	}
	var waits []Wait
	for _, configMap := range r.unownedPatroniObjects() {
		waits = append(waits, r.takeBack(ctx, configMap)...)
	}
	return waits, nil
}

func (r *round) unownedPatroniObjects() []*corev1.ConfigMap {
	var found []*corev1.ConfigMap
	for _, name := range desired.PatroniConfigMaps(r.cluster.Name) {
		if live := r.facts.configMaps[name]; live != nil && live.DeletionTimestamp == nil && !metav1.IsControlledBy(live, r.cluster) {
			found = append(found, live)
		}
	}
	return found
}
