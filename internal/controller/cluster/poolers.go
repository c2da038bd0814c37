package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// makePoolers applies the Deployment of PgBouncer, or takes everything of it away when the spec has none.
func makePoolers(ctx context.Context, r *round) ([]decide.Wait, error) {
	if desired.Pooler(r.seen.cluster) == nil {
		return nil, removePooler(ctx, r)
	}
	if wait := poolersNotYet(r); wait != nil {
		waits := []decide.Wait{*wait}
		if r.seen.pooler != nil {
			waits = append(waits, r.objects.takeBack(ctx, r.seen.pooler)...)
		}
		return waits, nil
	}
	deployment, err := desired.PoolerDeployment(r.seen.cluster, r.seen.settings)
	if err != nil {
		return nil, err
	}
	return r.objects.apply(ctx, deployment), nil
}

func poolersNotYet(r *round) *decide.Wait {
	name := desired.PoolerName(r.seen.cluster.Name)
	if wait := r.objects.missing(name, poolerNeeds(r.seen.cluster.Name)); wait != nil {
		return wait
	}
	if !r.seen.hasMaterial(name) {
		return &decide.Wait{Party: name, Reason: decide.AwaitingMaterial, Message: "the certificates in Secret " + desired.MaterialSecret(name) + " are not issued yet: see the condition TLSReady"}
	}
	return nil
}

// poolerNeeds are the objects that the poolers' pods mount.
func poolerNeeds(cluster string) needs {
	return needs{objectName("ConfigMap", desired.PoolerConfigName(cluster)): current}
}

func removePooler(ctx context.Context, r *round) error {
	if r.seen.pooler == nil {
		return nil
	}
	name, config := desired.PoolerName(r.seen.cluster.Name), desired.PoolerConfigName(r.seen.cluster.Name)
	// The Deployment goes last: it is what tells that there is something to remove.
	gone, err := r.objects.removeNamed(ctx,
		named(&corev1.Service{}, r.seen.cluster.Namespace, name),
		named(&policyv1.PodDisruptionBudget{}, r.seen.cluster.Namespace, name),
		named(&networkingv1.NetworkPolicy{}, r.seen.cluster.Namespace, name),
		named(&corev1.ConfigMap{}, r.seen.cluster.Namespace, config),
	)
	if gone {
		r.objects.remove(ctx, r.seen.pooler)
	}
	return err
}

func named[T client.Object](object T, namespace, name string) T {
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}
