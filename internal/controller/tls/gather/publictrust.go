package gather

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// gatherPublicTrust reads the ConfigMap that clients take their bundle from.
func gatherPublicTrust(ctx context.Context, v *look) error {
	var config corev1.ConfigMap
	err := v.Live.Get(ctx, client.ObjectKey{Namespace: v.Cluster.Namespace, Name: desired.CAConfigMap(v.Cluster.Name)}, &config)
	trust := &v.Observed.PublicTrust
	switch {
	case apierrors.IsNotFound(err):
		trust.State = facts.Missing
	case err != nil:
		return fmt.Errorf("reading ConfigMap %s: %w", desired.CAConfigMap(v.Cluster.Name), err)
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
