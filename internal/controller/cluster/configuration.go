package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/desired"
)

// writeConfiguration writes the files that pods read. A changed file changes the pod templates too.
func writeConfiguration(ctx context.Context, r *round) ([]Wait, error) {
	config, err := desired.InstanceConfig(r.cluster)
	if err != nil {
		return nil, err
	}
	objects := []client.Object{config}
	if desired.Pooler(r.cluster) != nil {
		pooler, err := desired.PoolerConfig(r.cluster)
		if err != nil {
			return nil, err
		}
		objects = append(objects, pooler)
	}
	return r.apply(ctx, objects...), nil
}
