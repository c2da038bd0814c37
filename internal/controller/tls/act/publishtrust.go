package act

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// publishTrust writes the bundle that clients read: over exactly the one that was observed, or as the first one. An operator that
// decided on older facts writes no older bundle.
func publishTrust(ctx context.Context, v *round, step plan.PublishTrust) error {
	bundle, err := bundle(v, facts.Server, step.Anchors)
	if err != nil {
		return err
	}
	config := &corev1.ConfigMap{
		ObjectMeta: desired.Meta(v.Cluster, desired.CAConfigMap(v.Cluster.Name), desired.ComponentLabels(v.Cluster.Name, desired.TLSComponent), v.Cluster.Spec.Metadata),
		Data:       map[string]string{material.AuthorityCertificate: string(bundle)},
	}
	// From now on clients that follow it have time to take it.
	metav1.SetMetaDataAnnotation(&config.ObjectMeta, material.ChangedAnnotation, v.Observed.Now.UTC().Format(material.TimeLayout))
	if v.PublicTrust == nil {
		return createConfigMap(ctx, v, config)
	}
	config.ResourceVersion = v.PublicTrust.ResourceVersion
	outcome, err := v.Applier.Apply(ctx, config)
	if err == nil && outcome == kube.Recovered {
		return ErrLookAgain
	}
	return err
}

func createConfigMap(ctx context.Context, v *round, config *corev1.ConfigMap) error {
	if err := v.Applier.Permit(ctx, config.Namespace); err != nil {
		return err
	}
	if err := v.Client.Create(ctx, config, v.Applier.Owner); err != nil {
		return fmt.Errorf("creating ConfigMap %s: %w", config.Name, err)
	}
	return nil
}
