package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// makeVolumes makes the claims of wanted instances. One that is still being deleted (the instance was scaled away a
// moment ago) has to go first: its data is given up.
func makeVolumes(ctx context.Context, r *round) ([]decide.Wait, error) {
	var waits []decide.Wait
	for _, instance := range desired.Instances(r.seen.cluster) {
		volume := desired.DataVolume(r.seen.cluster, instance)
		if live := r.seen.volumes[volume.Name]; live != nil && live.DeletionTimestamp != nil {
			waits = append(waits, decide.Wait{Party: instance.Name, Reason: decide.AwaitingVolume, Message: "PersistentVolumeClaim " + volume.Name + " is still being deleted"})
			continue
		}
		waits = append(waits, r.objects.apply(ctx, volume)...)
	}
	return waits, nil
}
