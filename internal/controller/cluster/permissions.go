package cluster

import (
	"context"
	"maps"
	"slices"

	"pgtls.dev/pgtls/internal/desired"
)

// givePermissions lets Patroni at its own ConfigMaps and at the pods that exist or are wanted.
func givePermissions(ctx context.Context, r *round) ([]Wait, error) {
	pods := map[string]bool{}
	for _, instance := range desired.Instances(r.cluster) {
		pods[desired.PodName(instance.Name)] = true
	}
	for instance := range r.facts.statefulSets {
		pods[desired.PodName(instance)] = true
	}
	return r.apply(ctx,
		desired.ServiceAccount(r.cluster),
		desired.Role(r.cluster, slices.Sorted(maps.Keys(pods))),
		desired.RoleBinding(r.cluster),
	), nil
}
