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
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Gatherer observes clusters.
type Gatherer struct {
	Live         client.Reader // past every cache
	Cached       client.Reader // with kube.ClusterIndex
	Writes       *kube.Writes  // that the cache may lack
	Agents       *evidence.Agents
	Proofs       *evidence.Proofs
	Terminations *evidence.Terminations
	Retriggers   *evidence.Retriggers
	Memory       *material.Memory
	// Verdicts on Secrets that have not changed.
	Verdicts *material.Verdicts
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
	source  Source
	pods    []corev1.Pod        // that bear the cluster's labels
	config  *corev1.ConfigMap   // that clients read, when it bears them
	secrets []corev1.Secret     // that bear the cluster's labels
	held    map[string]bool     // material that some pod mounts
	public  []*x509.Certificate // that the clients' ConfigMap holds
	bundles bundles
}

// bundles are those that were parsed in this look, by their text: the same two stand in the material of every party.
type bundles map[string]parsedBundle

type parsedBundle struct {
	anchors []*x509.Certificate
	err     error
}

// parse is pki.ParseBundle. What it returns is not to be changed.
func (b bundles) parse(text []byte) ([]*x509.Certificate, error) {
	parsed, known := b[string(text)]
	if !known {
		parsed.anchors, parsed.err = pki.ParseBundle(text)
		b[string(text)] = parsed
	}
	return parsed.anchors, parsed.err
}

// Gather reads everything from one source, but for Services, which come from the cache, and for what the spec names, which is not in it.
// Own writes are seen in either, so that what was written a moment ago is not written again.
func (g *Gatherer) Gather(ctx context.Context, cluster *v1beta1.PostgresCluster, source Source) (*snapshot.Snapshot, error) {
	v := &look{Gatherer: g, source: source, held: map[string]bool{}, bundles: bundles{}, Snapshot: &snapshot.Snapshot{
		Cluster: cluster, Policy: wanted.Policy(cluster), PastCache: source == PastCache,
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
	g.Verdicts.KeepOnly(client.ObjectKeyFromObject(cluster), v.secrets) // what is found by name alone is judged anew
	if source == PastCache {
		v.settle()
	}
	return v.Snapshot, nil
}

// settle says what the cache has to come to hold.
func (v *look) settle() {
	live := []client.Object{v.Cluster}
	for i := range v.secrets {
		live = append(live, &v.secrets[i])
	}
	for i := range v.pods {
		live = append(live, &v.pods[i])
	}
	if v.config != nil {
		live = append(live, v.config)
	}
	v.Writes.Settle(client.ObjectKeyFromObject(v.Cluster), live...)
}

// Forget forgets what is remembered of a cluster that is gone.
func (g *Gatherer) Forget(cluster types.NamespacedName) {
	g.Agents.KeepOnly(cluster, nil)
	g.Proofs.KeepOnly(cluster, nil)
	g.Terminations.KeepOnly(cluster, nil)
	g.Retriggers.KeepOnly(cluster, nil)
	g.without.forget(cluster)
	g.services.forget(cluster)
	g.Writes.Forget(cluster)
	g.Verdicts.KeepOnly(cluster, nil)
	g.Memory.ForgetCluster(cluster)
}

// gatherSecrets lists the Secrets that bear the cluster's labels.
func gatherSecrets(ctx context.Context, v *look) error {
	secrets, err := v.secretsLabelled(ctx, desired.ComponentLabels(v.Cluster.Name, desired.TLSComponent))
	if err != nil {
		return fmt.Errorf("listing the Secrets of %s: %w", v.Cluster.Name, err)
	}
	v.secrets = secrets
	return nil
}

// findSecret finds a Secret by name, past the cache also when its labels were taken away; nil when there is none. That one without
// labels exists is noted: the cache does not know it.
func findSecret(ctx context.Context, v *look, name string) (secret *corev1.Secret, listed bool, err error) {
	i := slices.IndexFunc(v.secrets, func(s corev1.Secret) bool { return s.Name == name })
	if i >= 0 {
		return &v.secrets[i], true, nil
	}
	if v.source == FromCache {
		return nil, false, nil
	}
	secret = &corev1.Secret{}
	err = v.Live.Get(ctx, client.ObjectKey{Namespace: v.Cluster.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	v.Unlisted = true
	return secret, false, nil
}
