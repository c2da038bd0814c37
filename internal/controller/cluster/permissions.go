package cluster

import (
	"context"
	"maps"
	"slices"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// givePermissions lets Patroni at its own ConfigMaps and at the pods that exist or are wanted.
func givePermissions(ctx context.Context, r *round) ([]decide.Wait, error) {
	pods := map[string]bool{}
	for _, instance := range desired.Instances(r.seen.cluster) {
		pods[desired.PodName(instance.Name)] = true
	}
	for instance := range r.seen.statefulSets {
		pods[desired.PodName(instance)] = true
	}
	return r.objects.apply(ctx,
		desired.ServiceAccount(r.seen.cluster),
		desired.Role(r.seen.cluster, slices.Sorted(maps.Keys(pods))),
		desired.RoleBinding(r.seen.cluster),
	), nil
}
