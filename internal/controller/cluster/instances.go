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
			if live := r.facts.statefulSets[instance.Name]; live != nil {
				waits = append(waits, r.takeBack(ctx, live)...)
			}
			continue
		}
		statefulSet, err := desired.StatefulSet(r.cluster, instance, r.settings)
		if err != nil {
			return waits, err
		}
		waits = append(waits, r.apply(ctx, statefulSet)...)
	}
	return waits, nil
}

// instanceNeeds are the objects without which an instance's pod would not start, or would mount what is not the cluster's. Services are none of
// them: Patroni and the agent come up without, and the pods' names resolve once their Service is there.
func instanceNeeds(cluster, instance string) needs {
	return needs{
		objectName("ServiceAccount", desired.ServiceAccountName(cluster)): present,
		objectName("Role", desired.ServiceAccountName(cluster)):           present,
		objectName("RoleBinding", desired.ServiceAccountName(cluster)):    present,
		objectName("ConfigMap", desired.ConfigName(cluster)):              current,
		objectName("PersistentVolumeClaim", desired.VolumeName(instance)): present,
	}
}

// notYet says why an instance's StatefulSet cannot be applied, or its pod replaced: the new pod would not come up.
func (r *round) notYet(instance string) *Wait {
	if r.leftovers {
		return &Wait{Party: instance, Reason: AwaitingLeftovers, Message: "an earlier cluster of this name is still going away"}
	}
	volume := desired.VolumeName(instance)
	if live := r.facts.volumes[volume]; live != nil && live.DeletionTimestamp != nil {
		return &Wait{Party: instance, Reason: AwaitingVolume, Message: "PersistentVolumeClaim " + volume + " is still being deleted"}
	}
	if wait := r.missing(instance, instanceNeeds(r.cluster.Name, instance)); wait != nil {
		return wait
	}
	if !r.facts.hasMaterial(instance) {
		return &Wait{Party: instance, Reason: AwaitingMaterial, Message: "the certificates in Secret " + desired.MaterialSecret(instance) + " are not issued yet: see the condition TLSReady"}
	}
	return nil
}
