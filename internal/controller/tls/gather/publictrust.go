package gather

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// gatherPublicTrust reads the ConfigMap that clients take their bundle from.
func gatherPublicTrust(ctx context.Context, v *look) error {
	config := corev1.ConfigMap{ObjectMeta: nameOnly(client.ObjectKey{Namespace: v.Cluster.Namespace, Name: desired.CAConfigMap(v.Cluster.Name)})}
	found, err := v.get(ctx, client.ObjectKeyFromObject(v.Cluster), &config, v.source)
	labelled := config.Labels[desired.ClusterLabel] == v.Cluster.Name
	if found && labelled {
		v.config = &config
	}
	v.Unlisted = v.Unlisted || found && !labelled
	trust := &v.Observed.PublicTrust
	switch {
	case err != nil:
		return fmt.Errorf("reading ConfigMap %s: %w", config.Name, err)
	case !found:
		trust.State = facts.Missing
	case !v.belongs(configMapKind, &config):
		trust.State = facts.Foreign
	default:
		trust.State, v.PublicTrust = facts.Present, &config
		if at, err := time.Parse(material.TimeLayout, config.Annotations[material.ChangedAnnotation]); err == nil {
			trust.ChangedAt = at
		}
		if anchors, err := pki.ParseBundle([]byte(config.Data[material.AuthorityCertificate])); err == nil {
			trust.Anchors, v.public = material.Fingerprints(anchors), anchors
		}
	}
	return nil
}
