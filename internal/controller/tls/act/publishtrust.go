package act

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// publishTrust writes the bundle that clients read.
func publishTrust(ctx context.Context, v *round, step plan.PublishTrust) error {
	bundle, err := bundle(v, facts.Server, step.Anchors)
	if err != nil {
		return err
	}
	config := &corev1.ConfigMap{
		ObjectMeta: desired.Meta(v.Cluster, desired.CAConfigMap(v.Cluster.Name), desired.ComponentLabels(v.Cluster.Name, desired.TLSComponent), v.Cluster.Spec.Metadata),
		Data:       map[string]string{material.AuthorityCertificate: string(bundle)},
	}
	outcome, err := v.Applier.Apply(ctx, config)
	if err == nil && outcome == kube.Recovered {
		return ErrLookAgain
	}
	return err
}
