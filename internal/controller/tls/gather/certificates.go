package gather

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// gatherCertificates lists the Certificates of cert-manager that the cluster controls. That they cannot be read is a fact,
// and no error: nothing else waits for cert-manager, or for the webhook before it.
func gatherCertificates(ctx context.Context, v *look) error {
	wanted := slices.ContainsFunc(wanted.Slots(), func(s wanted.Slot) bool { return s.Issuer(v.Cluster) != nil })
	if !wanted && (v.Cluster.Generation == 1 || v.without.has(v.Cluster)) {
		return nil // the first spec names no issuer, so that none was ever named
	}
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(certmanager.CertificateGVK.GroupVersion().WithKind(certmanager.CertificateKind + "List"))
	err := v.Live.List(ctx, &list, client.InNamespace(v.Cluster.Namespace),
		client.MatchingLabels(desired.ComponentLabels(v.Cluster.Name, desired.TLSComponent)))
	switch {
	case meta.IsNoMatchError(err):
		v.Certificates.Unavailable = true
	case err != nil:
		v.Certificates.Err = fmt.Errorf("listing the Certificates of %s: %w", v.Cluster.Name, err)
	}
	for i := range list.Items {
		if metav1.IsControlledBy(&list.Items[i], v.Cluster) {
			v.Certificates.Owned = append(v.Certificates.Owned, list.Items[i])
		}
	}
	if (err == nil || v.Certificates.Unavailable) && !wanted && len(v.Certificates.Owned) == 0 {
		v.without.note(v.Cluster)
	}
	slices.SortFunc(v.Certificates.Owned, func(a, b unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return nil
}

// without remembers which clusters had no Certificate at a generation of their spec. No other than this controller makes them
// one, so that a cluster that names no issuer is asked about once, and not at each look.
type without struct {
	mu          sync.Mutex
	generations map[types.NamespacedName]generationOf
}

type generationOf struct {
	uid        types.UID
	generation int64
}

func (w *without) has(cluster *v1beta1.PostgresCluster) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generations[client.ObjectKeyFromObject(cluster)] == generationOf{cluster.UID, cluster.Generation}
}

func (w *without) note(cluster *v1beta1.PostgresCluster) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.generations == nil {
		w.generations = map[types.NamespacedName]generationOf{}
	}
	w.generations[client.ObjectKeyFromObject(cluster)] = generationOf{cluster.UID, cluster.Generation}
}

func (w *without) forget(cluster types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.generations, cluster)
}

// awaited says why an issuer has not filled a slot's Secret yet.
func awaited(v *look, s wanted.Slot, issuer *v1beta1.IssuerReference) custom.Finding {
	name := certmanager.Name(v.Cluster.Name, s.Issued)
	finding := custom.Finding{Reason: snapshot.AwaitingIssuer, Severity: custom.Refuse}
	certificate := v.Certificates.Named(name)
	switch {
	case v.Certificates.Err != nil:
		finding.Message = fmt.Sprintf("Certificate %s: %s: the operator tries again", name, kube.Explain(v.Certificates.Err))
	case v.Certificates.Unavailable:
		finding.Reason = snapshot.IssuerUnavailable
		finding.Message = fmt.Sprintf("%s %s: cert-manager's kind Certificate is not known here: install cert-manager, or name a Secret instead of issuerRef", issuer.Kind, issuer.Name)
	case certificate == nil:
		finding.Message = fmt.Sprintf("Certificate %s: it is about to be made", name)
	default:
		status := certmanager.StatusOf(certificate)
		finding.Message = fmt.Sprintf("Certificate %s: %s has not issued it yet: see its state: kubectl describe certificate %s", name, issuer.Name, name)
		if status.Reason != "" {
			finding.Message = fmt.Sprintf("Certificate %s: %s has not issued it yet (%s: %s): see kubectl describe certificate %s", name, issuer.Name, status.Reason, status.Message, name)
		}
	}
	return finding
}
