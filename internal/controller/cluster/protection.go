package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

func setDisruptionBudgets(ctx context.Context, r *round) ([]decide.Wait, error) {
	return r.objects.apply(ctx, objects(desired.DisruptionBudgets(r.seen.cluster))...), nil
}

func setNetworkPolicies(ctx context.Context, r *round) ([]decide.Wait, error) {
	return r.objects.apply(ctx, objects(desired.NetworkPolicies(r.seen.cluster, r.seen.settings))...), nil
}

func objects[T client.Object](items []T) []client.Object {
	converted := make([]client.Object, len(items))
	for i, item := range items {
		converted[i] = item
	}
	return converted
}
