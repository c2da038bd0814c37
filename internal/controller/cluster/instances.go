package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// makeInstances applies the StatefulSet of each wanted instance. That changes no running pod; replaceInstances does.
func makeInstances(ctx context.Context, r *round) ([]decide.Wait, error) {
	var waits []decide.Wait
	_, configHash, err := r.renderings.Of(r.seen.cluster)
	if err != nil {
		return nil, err
	}
	for _, instance := range desired.Instances(r.seen.cluster) {
		if wait := instanceNotYet(r, instance.Name); wait != nil {
			waits = append(waits, *wait)
			if live := r.seen.statefulSets[instance.Name]; live != nil {
				waits = append(waits, r.objects.takeBack(ctx, live)...)
			}
			continue
		}
		waits = append(waits, r.objects.apply(ctx, desired.StatefulSet(r.seen.cluster, instance, configHash, r.seen.settings))...)
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

// instanceNotYet says why an instance's StatefulSet cannot be applied, or its pod replaced: the new pod would not come up.
func instanceNotYet(r *round, instance string) *decide.Wait {
	if r.leftovers {
		return &decide.Wait{Party: instance, Reason: decide.AwaitingLeftovers, Message: "an earlier cluster of this name is still going away"}
	}
	volume := desired.VolumeName(instance)
	if live := r.seen.volumes[volume]; live != nil && live.DeletionTimestamp != nil {
		return &decide.Wait{Party: instance, Reason: decide.AwaitingVolume, Message: "PersistentVolumeClaim " + volume + " is still being deleted"}
	}
	if wait := r.objects.missing(instance, instanceNeeds(r.seen.cluster.Name, instance)); wait != nil {
		return wait
	}
	if !r.seen.hasMaterial(instance) {
		return &decide.Wait{Party: instance, Reason: decide.AwaitingMaterial, Message: "the certificates in Secret " + desired.MaterialSecret(instance) + " are not issued yet: see the condition TLSReady"}
	}
	return nil
}
