package tls

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

// Where the spec names an issuer, cert-manager is asked for a Certificate, and the Secret that it fills is read like one that
// the user names.

// source is the Secret that a slot is filled from; nil: none.
func (s slot) source(cluster *v1beta1.PostgresCluster) *corev1.SecretProjection {
	if projection := s.projection(cluster); projection != nil {
		return projection
	}
	if s.issuer(cluster) == nil {
		return nil
	}
	return &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: certmanager.Name(cluster.Name, s.issued)}}
}

// issuer is who is to fill a slot; nil: nobody, or the user names a Secret.
func (s slot) issuer(cluster *v1beta1.PostgresCluster) *v1beta1.IssuerReference {
	if s.projection(cluster) != nil || s.kind == rotation.Pooler && desired.Pooler(cluster) == nil {
		return nil
	}
	spec := specOf(cluster)
	if s.domain == rotation.Client {
		return spec.client.IssuerRef
	}
	return spec.server.IssuerRef
}

// request keeps the Certificates that the spec wants, and takes back those that it no longer does. It returns what failed, by
// condition: nothing else must wait for cert-manager, or for the webhook before it.
func (r *Reconciler) request(ctx context.Context, cluster *v1beta1.PostgresCluster) map[string]error {
	failed := map[string]error{}
	for _, s := range slots {
		err := r.takeBack(ctx, cluster, s)
		if issuer := s.issuer(cluster); issuer != nil {
			_, err = r.applier.Apply(ctx, certmanager.Certificate(r.requestFor(cluster, s, *issuer)))
		}
		if err != nil && !meta.IsNoMatchError(err) {
			failed[s.condition] = err
		}
	}
	return failed
}

// noteRequests tells of the Certificates that could not be written, where it is told what has become of each slot.
func (v *view) noteRequests(failed map[string]error) {
	for _, s := range slots {
		err := failed[s.condition]
		if err == nil {
			continue
		}
		finding := custom.Finding{Reason: awaitingIssuer, Severity: custom.Warn, Message: fmt.Sprintf(
			"Certificate %s: %s: the operator tries again", certmanager.Name(v.cluster.Name, s.issued), evidence.InWords(err))}
		i := slices.IndexFunc(v.customs, func(p *presented) bool { return p.slot.condition == s.condition })
		switch {
		case i < 0:
			v.customs = append(v.customs, &presented{slot: s, source: "no Secret", findings: []custom.Finding{finding}, gone: true})
		case v.customs[i].awaits():
			finding.Severity = custom.Refuse
			v.customs[i].findings = []custom.Finding{finding}
		default:
			v.customs[i].findings = append(v.customs[i].findings, finding)
		}
	}
}

// awaits reports whether there is nothing yet but the wait for an issuer.
func (p *presented) awaits() bool {
	return len(p.findings) == 1 && (p.findings[0].Reason == awaitingIssuer || p.findings[0].Reason == issuerUnavailable)
}

// takeBack deletes the Certificate of a slot that has one no longer. The condition tells that it had one; were the status
// lost, cert-manager would go on filling a Secret that nobody reads.
func (r *Reconciler) takeBack(ctx context.Context, cluster *v1beta1.PostgresCluster, s slot) error {
	if s.issuer(cluster) != nil || meta.FindStatusCondition(cluster.Status.Conditions, s.condition) == nil {
		return nil
	}
	certificate, err := r.certificate(ctx, cluster, s)
	if err != nil || certificate == nil || !metav1.IsControlledBy(certificate, cluster) {
		return err
	}
	return r.applier.Delete(ctx, certificate)
}

// certificate reads the Certificate of a slot; nil: there is none, or no cert-manager.
func (r *Reconciler) certificate(ctx context.Context, cluster *v1beta1.PostgresCluster, s slot) (*unstructured.Unstructured, error) {
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(certmanager.CertificateGVK)
	err := r.live.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: certmanager.Name(cluster.Name, s.issued)}, certificate)
	switch {
	case client.IgnoreNotFound(err) == nil && err != nil, meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading Certificate %s: %w", certmanager.Name(cluster.Name, s.issued), err)
	}
	return certificate, nil
}

func (r *Reconciler) requestFor(cluster *v1beta1.PostgresCluster, s slot, issuer v1beta1.IssuerReference) certmanager.Request {
	spec := specOf(cluster)
	request := certmanager.Request{
		Name: certmanager.Name(cluster.Name, s.issued), Namespace: cluster.Namespace, Issuer: issuer,
		Owner: desired.OwnerReference(cluster), Labels: desired.ComponentLabels(cluster.Name, desired.TLSComponent),
	}
	var policy rotation.CertificatePolicy
	switch s.role {
	case custom.Instance:
		policy = serverPolicy(spec.server.Instances)
		request.CommonName, request.Usage = desired.PrimaryService(cluster.Name), pki.ServerAuth
		names := desired.ServiceNames(cluster, spec.server.Instances, r.options.ClusterDomain, desired.PrimaryService(cluster.Name), desired.ReplicaService(cluster.Name))
		request.DNSNames, request.IPAddresses = names.DNS, names.IPs
	case custom.Pooler:
		policy = serverPolicy(spec.server.PGBouncer)
		request.CommonName, request.Usage = desired.PoolerName(cluster.Name), pki.ServerAuth
		names := desired.ServiceNames(cluster, spec.server.PGBouncer, r.options.ClusterDomain, desired.PoolerName(cluster.Name))
		request.DNSNames, request.IPAddresses = names.DNS, names.IPs
	case custom.Replication:
		policy = clientLeaf(agentapi.ReplicationIdentity, spec.client.Replication).CertificatePolicy
		request.CommonName, request.Usage = agentapi.ReplicationIdentity, pki.ClientAuth
	}
	request.Algorithm, request.Duration, request.RenewBefore = policy.Algorithm, policy.Life, policy.RenewBefore
	return request
}

// awaited says why an issuer has not filled a slot's Secret yet.
func (r *Reconciler) awaited(ctx context.Context, v *view, s slot, issuer *v1beta1.IssuerReference) custom.Finding {
	name := certmanager.Name(v.cluster.Name, s.issued)
	finding := custom.Finding{Reason: awaitingIssuer, Severity: custom.Refuse}
	certificate, err := r.certificate(ctx, v.cluster, s)
	switch {
	case err != nil:
		finding.Message = fmt.Sprintf("Certificate %s: %s: the operator tries again", name, evidence.InWords(err))
	case certificate == nil:
		finding.Reason = issuerUnavailable
		finding.Message = fmt.Sprintf("%s %s: cert-manager's kind Certificate is not known here: install cert-manager, or name a Secret instead of issuerRef", issuer.Kind, issuer.Name)
	default:
		status := certmanager.StatusOf(certificate)
		finding.Message = fmt.Sprintf("Certificate %s: %s has not issued it yet: see its state: kubectl describe certificate %s", name, issuer.Name, name)
		if status.Reason != "" {
			finding.Message = fmt.Sprintf("Certificate %s: %s has not issued it yet (%s: %s): see kubectl describe certificate %s", name, issuer.Name, status.Reason, status.Message, name)
		}
	}
	return finding
}
