package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/desired"
)

// makeVolumes makes the claims of wanted instances. One that is still being deleted (the instance was scaled away a
// moment ago) has to go first: its data is given up.
func makeVolumes(ctx context.Context, r *round) ([]Wait, error) {
	var waits []Wait
	for _, instance := range desired.Instances(r.cluster) {
		volume := desired.DataVolume(r.cluster, instance)
		if live := r.facts.volumes[volume.Name]; live != nil && live.DeletionTimestamp != nil {
			waits = append(waits, Wait{Party: instance.Name, Reason: AwaitingVolume, Message: "PersistentVolumeClaim " + volume.Name + " is still being deleted"})
			continue
		}
		waits = append(waits, r.apply(ctx, volume)...)
	}
	return waits, nil
}
