package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

func makeServices(ctx context.Context, r *round) ([]decide.Wait, error) {
	return r.objects.apply(ctx, objects(desired.Services(r.seen.cluster))...), nil
}
