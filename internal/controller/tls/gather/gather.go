// Package gather observes a cluster. It reads, and has nothing to write with: a Gatherer holds readers only.
package gather

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Gatherer observes clusters.
type Gatherer struct {
	Live   client.Reader // past every cache
	Cached client.Reader // for Services, which others write
	Agents *evidence.Agents
	Proofs *evidence.Proofs
	Sweeps *evidence.Sweeps
	Nudges *evidence.Nudges
	Memory *material.Memory
	// Sessions asks a PostgreSQL which sessions there are.
	Sessions SessionReader
	Now      func() time.Time
	// ClusterDomain of the Kubernetes cluster, such as cluster.local.
	ClusterDomain string
	// SystemRoots are the authorities that the operator's system trusts; nil where these are not known.
	SystemRoots func() []*x509.Certificate

	without  without // Certificates
	services lacking
}

// look is one observation in the making.
type look struct {
	*Gatherer
	*snapshot.Snapshot
	secrets []corev1.Secret     // that bear the cluster's labels
	held    map[string]bool     // material that some pod mounts
	public  []*x509.Certificate // that the clients' ConfigMap holds
}

// Gather reads everything. What this controller writes is read live, so that
// what was written a moment ago is seen and not written again; Services, which
// others write, come from the cache.
func (g *Gatherer) Gather(ctx context.Context, cluster *v1beta1.PostgresCluster) (*snapshot.Snapshot, error) {
	v := &look{Gatherer: g, held: map[string]bool{}, Snapshot: &snapshot.Snapshot{
		Cluster: cluster, Policy: wanted.Policy(cluster),
		Material: map[string]*corev1.Secret{}, Pods: map[string]*corev1.Pod{}, Endpoints: map[string][]evidence.Endpoint{},
		Handshakes: map[string]evidence.Proof{}, Reports: map[string]*agentapi.Report{}, Known: map[string]*x509.Certificate{}, Unowned: map[facts.Object]client.Object{}, TrustFindings: map[facts.Domain][]custom.Finding{},
	}}
	v.Observed.Now = v.Now()
	for _, step := range []func(context.Context, *look) error{
		gatherSecrets, gatherPublicTrust, gatherParties, gatherRecord, gatherAuthorities, gatherCertificates, gatherSources,
		gatherLedger, gatherPods, gatherUnwanted,
	} {
		if err := step(ctx, v); err != nil {
			return nil, err
		}
	}
	return v.Snapshot, nil
}

// Forget forgets what is remembered of a cluster that is gone.
func (g *Gatherer) Forget(cluster types.NamespacedName) {
	g.Agents.KeepOnly(cluster, nil)
	g.Proofs.KeepOnly(cluster, nil)
	g.Sweeps.KeepOnly(cluster, nil)
	g.Nudges.KeepOnly(cluster, nil)
	g.without.forget(cluster)
	g.services.forget(cluster)
	g.Memory.ForgetCluster(cluster)
}

// gatherSecrets lists the Secrets that bear the cluster's labels.
func gatherSecrets(ctx context.Context, v *look) error {
	var secrets corev1.SecretList
	if err := v.Live.List(ctx, &secrets, client.InNamespace(v.Cluster.Namespace),
		client.MatchingLabels(desired.ComponentLabels(v.Cluster.Name, desired.TLSComponent))); err != nil {
		return fmt.Errorf("listing the Secrets of %s: %w", v.Cluster.Name, err)
	}
	v.secrets = secrets.Items
	return nil
}

// findSecret finds a Secret by name, also when its labels were taken away; nil when there is none.
func findSecret(ctx context.Context, v *look, name string) (secret *corev1.Secret, listed bool, err error) {
	i := slices.IndexFunc(v.secrets, func(s corev1.Secret) bool { return s.Name == name })
	if i >= 0 {
		return &v.secrets[i], true, nil
	}
	secret = &corev1.Secret{}
	err = v.Live.Get(ctx, client.ObjectKey{Namespace: v.Cluster.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	return secret, false, nil
}
