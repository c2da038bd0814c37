package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// reportOrphans names what an earlier cluster of this name left and the spec does not want. Its data is the user's, so that it is reported and
// neither taken back nor deleted; nor does the message advise to delete it.
func reportOrphans(_ context.Context, r *round) ([]decide.Wait, error) {
	if len(r.seen.orphans) == 0 {
		return nil, nil
	}
	return []decide.Wait{{
		Party: listed(r.seen.orphans), Reason: decide.OrphanNotWanted,
		Message: "the spec does not want it and no controller owns it: it is neither taken back nor deleted, because its data is the user's. " +
			"To use it, name it in the spec (replicas of the instance set, spec.users, spec.proxy); to keep it apart from the cluster, take the label " + desired.ClusterLabel + " off it",
	}}, nil
}

// listed keeps a list of names short.
func listed(names []string) string {
	const most = 4
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// orphansOf are the objects that belong to no instance, user or poolers of the spec and that no controller owns, sorted. What is being deleted
// is none of them.
func orphansOf(cluster *v1beta1.PostgresCluster, statefulSets map[string]*appsv1.StatefulSet, seen facts) []string {
	var found []string
	note := func(kind string, object metav1.Object) {
		if metav1.GetControllerOfNoCopy(object) == nil && object.GetDeletionTimestamp() == nil {
			found = append(found, objectName(kind, object.GetName()))
		}
	}
	instances := desired.Instances(cluster)
	for name, statefulSet := range statefulSets {
		if !isWanted(instances, name) {
			note("StatefulSet", statefulSet)
		}
	}
	for _, volume := range seen.volumes {
		if instance := volume.Labels[desired.InstanceLabel]; instance != "" && !isWanted(instances, instance) {
			note("PersistentVolumeClaim", volume)
		}
	}
	users := userSecrets(cluster)
	for name, secret := range seen.secrets {
		if secret.Labels[desired.UserLabel] != "" && !users[name] {
			note("Secret", secret)
		}
	}
	if seen.pooler != nil && desired.Pooler(cluster) == nil {
		note("Deployment", seen.pooler)
	}
	return slices.Sorted(slices.Values(found))
}

// userSecrets are the names of the Secrets of the spec's users.
func userSecrets(cluster *v1beta1.PostgresCluster) map[string]bool {
	names := map[string]bool{}
	for _, user := range desired.Users(cluster) {
		names[desired.UserSecret(cluster.Name, user.Name)] = true
	}
	return names
}
