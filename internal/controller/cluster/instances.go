package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/desired"
)

// makeInstances applies the StatefulSet of each wanted instance. That changes no running pod; replaceInstances does.
func makeInstances(ctx context.Context, r *round) ([]Wait, error) {
	var waits []Wait
	for _, instance := range desired.Instances(r.cluster) {
		if wait := r.notYet(instance.Name); wait != nil {
			waits = append(waits, *wait)
			continue
		}
		statefulSet, err := desired.StatefulSet(r.cluster, instance, r.settings)
		if err != nil {
			return waits, err
		}
		waiting, err := r.apply(ctx, statefulSet)
		waits = append(waits, waiting...)
		if err != nil {
			return waits, err
		}
	}
	return waits, nil
}

// notYet says why an instance's StatefulSet cannot be applied: its pod would hang in mount back-off, or mount what
// belongs to somebody else.
func (r *round) notYet(instance string) *Wait {
	if r.refused[leftoverMark] {
		return &Wait{Party: instance, Reason: AwaitingLeftovers, Message: "an earlier cluster of this name is still going away"}
	}
	volume := desired.VolumeName(instance)
	if live := r.facts.volumes[volume]; live != nil && live.DeletionTimestamp != nil {
		return &Wait{Party: instance, Reason: AwaitingVolume, Message: "PersistentVolumeClaim " + volume + " is still being deleted"}
	}
	for _, needed := range []string{
		objectName("ConfigMap", desired.ConfigName(r.cluster.Name)),
		objectName("ServiceAccount", desired.ServiceAccountName(r.cluster.Name)),
		objectName("PersistentVolumeClaim", volume),
	} {
		if r.refused[needed] {
			return &Wait{Party: instance, Reason: ForeignObject, Message: needed + " belongs to somebody else, and the instance cannot go without its own", Again: later}
		}
	}
	if !r.facts.hasMaterial(instance) {
		return &Wait{Party: instance, Reason: AwaitingMaterial, Message: "the certificates in Secret " + desired.MaterialSecret(instance) + " are not issued yet: see the condition TLSReady"}
	}
	return nil
}
