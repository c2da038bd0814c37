package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"

	"pgtls.dev/pgtls/internal/desired"
)

// makePoolers applies the Deployment of PgBouncer, or takes everything of it away when the spec has none.
func makePoolers(ctx context.Context, r *round) ([]Wait, error) {
	if desired.Pooler(r.cluster) == nil {
		return nil, r.removePooler(ctx)
	}
	if wait := r.poolersNotYet(); wait != nil {
		waits := []Wait{*wait}
		if r.facts.pooler != nil {
			waits = append(waits, r.takeBack(ctx, r.facts.pooler)...)
		}
		return waits, nil
	}
	deployment, err := desired.PoolerDeployment(r.cluster, r.settings)
	if err != nil {
		return nil, err
	}
	return r.apply(ctx, deployment), nil
}

func (r *round) poolersNotYet() *Wait {
	name := desired.PoolerName(r.cluster.Name)
	if wait := r.missing(name, poolerNeeds(r.cluster.Name)); wait != nil {
		return wait
	}
	if !r.facts.hasMaterial(name) {
		return &Wait{Party: name, Reason: AwaitingMaterial, Message: "the certificates in Secret " + desired.MaterialSecret(name) + " are not issued yet: see the condition TLSReady"}
	}
	return nil
}

// poolerNeeds are the objects that the poolers' pods mount.
func poolerNeeds(cluster string) needs {
	return needs{objectName("ConfigMap", desired.PoolerConfigName(cluster)): current}
}

func (r *round) removePooler(ctx context.Context) error {
	if r.facts.pooler == nil {
		return nil
	}
	name, config := desired.PoolerName(r.cluster.Name), desired.PoolerConfigName(r.cluster.Name)
	// The Deployment goes last: it is what tells that there is something to remove.
	gone, err := r.deleteControlled(ctx,
		named(&corev1.Service{}, r.cluster.Namespace, name),
		named(&policyv1.PodDisruptionBudget{}, r.cluster.Namespace, name),
		named(&networkingv1.NetworkPolicy{}, r.cluster.Namespace, name),
		named(&corev1.ConfigMap{}, r.cluster.Namespace, config),
	)
	if gone {
		r.remove(ctx, r.facts.pooler)
	}
	return err
}

func named[T client.Object](object T, namespace, name string) T {
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}
