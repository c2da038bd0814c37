package cluster

import (
	"context"
	"maps"
	"slices"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
)

// clearLeftovers deletes Patroni's ConfigMaps of an earlier cluster of the same name. A Patroni that is going down may
// have written them anew after they were collected, and with them a new cluster would wait for
// the old one's leader for ever. Those of a restored cluster stay: they belong to its data.
func clearLeftovers(ctx context.Context, r *round) ([]decide.Wait, error) {
	if len(r.seen.statefulSets) > 0 || r.seen.restored() {
		return nil, nil
	}
	leftovers := r.seen.unownedPatroniObjects()
	if len(leftovers) == 0 {
		return nil, nil
	}
	for _, instance := range slices.Sorted(maps.Keys(r.seen.pods)) {
		r.leftovers = true
		return []decide.Wait{{Party: r.seen.pods[instance].Name, Reason: decide.AwaitingLeftovers, Message: "the pod of an earlier cluster of this name is still there"}}, nil
	}
	for _, leftover := range leftovers {
		if !r.objects.discard(ctx, leftover) {
			continue
		}
		r.cleared[leftover.Name] = true
		r.events.tell(leftover, decide.LeftoverDeleted, "Delete", "deleted ConfigMap %s of an earlier cluster of this name", leftover.Name)
	}
	return nil, nil
}

// adoptPatroniObjects makes the cluster the owner of what Patroni made, so that it goes with the cluster.
func adoptPatroniObjects(ctx context.Context, r *round) ([]decide.Wait, error) {
	if r.leftovers {
		return nil, nil
	}
	var waits []decide.Wait
	for _, configMap := range r.seen.unownedPatroniObjects() {
		if !r.cleared[configMap.Name] {
			waits = append(waits, r.objects.takeBack(ctx, configMap)...)
		}
	}
	return waits, nil
}
