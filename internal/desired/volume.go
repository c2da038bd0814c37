package desired

import (
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
)

// DataVolume is the claim of an instance's data. The cluster owns it, so it goes with the cluster.
func DataVolume(cluster *v1beta1.PostgresCluster, instance Instance) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: Meta(cluster, VolumeName(instance.Name), instanceLabels(cluster.Name, instance), instance.Set.Metadata),
		Spec:       *instance.Set.DataVolumeClaimSpec.DeepCopy(),
	}
}
