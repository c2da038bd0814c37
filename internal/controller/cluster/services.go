package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/desired"
)

func makeServices(ctx context.Context, r *round) ([]Wait, error) {
	return r.apply(ctx, objects(desired.Services(r.cluster))...), nil
}
