package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// writeConfiguration writes the files that pods read. A changed file changes the pod templates too.
func writeConfiguration(ctx context.Context, r *round) ([]decide.Wait, error) {
	config, _, err := r.renderings.Of(r.seen.cluster)
	if err != nil {
		return nil, err
	}
	objects := []client.Object{config}
	if desired.Pooler(r.seen.cluster) != nil {
		pooler, err := desired.PoolerConfig(r.seen.cluster)
		if err != nil {
			return nil, err
		}
		objects = append(objects, pooler)
	}
	return r.objects.apply(ctx, objects...), nil
}
