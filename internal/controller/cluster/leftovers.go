package cluster

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/desired"
)

// clearLeftovers deletes Patroni's ConfigMaps of an earlier cluster of the same name. A Patroni that is going down may
// have written them anew after they were collected, and with them a new cluster would wait for
// the old one's leader for ever.
func clearLeftovers(ctx context.Context, r *round) ([]Wait, error) {
	if len(r.facts.statefulSets) > 0 {
		return nil, nil
	}
	leftovers := r.unownedPatroniObjects()
	if len(leftovers) == 0 {
		return nil, nil
	}
	for _, pod := range r.facts.pods {
		r.refused[leftoverMark] = true
		return []Wait{{Party: pod.Name, Reason: AwaitingLeftovers, Message: "the pod of an earlier cluster of this name is still there"}}, nil
	}
	for _, leftover := range leftovers {
		if err := r.applier.Delete(ctx, leftover); err != nil {
			return nil, err
		}
		delete(r.facts.configMaps, leftover.Name)
		r.tell(leftover, LeftoverDeleted, "Delete", "deleted ConfigMap %s of an earlier cluster of this name", leftover.Name)
	}
	return nil, nil
}

// leftoverMark stands among the refused objects while an earlier cluster is still going away.
const leftoverMark = "leftovers"

// adoptPatroniObjects makes the cluster the owner of what Patroni made, so that it goes with the cluster.
func adoptPatroniObjects(ctx context.Context, r *round) ([]Wait, error) {
	if r.refused[leftoverMark] {
		return nil, nil
	}
	for _, configMap := range r.unownedPatroniObjects() {
		if err := r.applier.TakeBack(ctx, configMap, claimantOf(r.cluster)); err != nil {
			return nil, err
		}
	}
	return nil, nil
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
