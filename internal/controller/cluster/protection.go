package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/desired"
)

func setDisruptionBudgets(ctx context.Context, r *round) ([]Wait, error) {
	return r.apply(ctx, objects(desired.DisruptionBudgets(r.cluster))...), nil
}

func setNetworkPolicies(ctx context.Context, r *round) ([]Wait, error) {
	return r.apply(ctx, objects(desired.NetworkPolicies(r.cluster, r.settings))...), nil
}

func objects[T client.Object](items []T) []client.Object {
	converted := make([]client.Object, len(items))
	for i, item := range items {
		converted[i] = item
	}
	return converted
}
