//go:build envtest

package envtest

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/harness"
)

const (
	issuingNamespace = "issuing"
	// issueLimit is for one certificate: a key is made, and five controllers hand it on.
	issueLimit = 20 * time.Second
)

// issuing is a namespace in which cert-manager is asked for certificates.
type issuing struct {
	*testing.T
	owner metav1.OwnerReference
}

func newIssuing(t *testing.T) *issuing {
	t.Helper()
	i := &issuing{T: t}
	i.create(`{apiVersion: v1, kind: Namespace, metadata: {name: issuing}}`)
	// Stands for the PostgresCluster: what the owner is makes no difference to cert-manager.
	owner := i.create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: owner, namespace: issuing}}`)
	i.owner = *metav1.NewControllerRef(owner, owner.GroupVersionKind())
	return i
}

func (i *issuing) create(manifest string) *unstructured.Unstructured {
	i.Helper()
	object := &unstructured.Unstructured{Object: parse(i.T, manifest)}
	if err := cluster.Create(i.Context(), object); err != nil {
		i.Fatal(err)
	}
	return object
}

// makeIssuer makes a company's authority and an issuer that signs with it.
func (i *issuing) makeIssuer() {
	i.Helper()
	for _, manifest := range []string{
		`{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: bootstrap}, spec: {selfSigned: {}}}`,
		`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: company-root, namespace: issuing}, spec: {
			isCA: true, commonName: Company Root, secretName: company-root, duration: 17520h, privateKey: {algorithm: ECDSA, size: 256},
			issuerRef: {name: bootstrap, kind: ClusterIssuer, group: cert-manager.io}}}`,
		`{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: company-ca, namespace: issuing}, spec: {ca: {secretName: company-root}}}`,
	} {
		i.create(manifest)
	}
}

func (i *issuing) request(usage pki.Usage) certmanager.Request {
	r := certmanager.Request{
		Name: certmanager.Name("hippo", certmanager.InstancesRole), Namespace: issuingNamespace, Owner: i.owner,
		Issuer: v1beta1.IssuerReference{Name: "company-ca"}, Usage: usage,
		CommonName: "hippo-primary", DNSNames: []string{"hippo-primary", "hippo-primary.issuing.svc"},
		Duration: 720 * time.Hour, RenewBefore: 240 * time.Hour,
	}
	if usage == pki.ClientAuth {
		r.Name, r.CommonName, r.DNSNames = certmanager.Name("hippo", certmanager.ReplicationRole), "_pgtlsrepl", nil
	}
	return r
}

// apply is strict: a field that cert-manager's definition does not have is an error.
func (i *issuing) apply(certificate *unstructured.Unstructured) {
	i.Helper()
	err := cluster.Apply(i.Context(), client.ApplyConfigurationFromUnstructured(certificate), client.FieldOwner("pgtls-test"), client.ForceOwnership)
	if err != nil {
		i.Fatal(err)
	}
}

// issued is what a Secret of cert-manager holds.
type issued struct {
	secret      corev1.Secret
	pair        *pki.KeyPair
	authorities []*x509.Certificate
	problem     string // why it cannot be used; the rest is then incomplete
}

// isSame returns "" for another leaf than this one.
func (s issued) isSame(other issued) string {
	if s.pair.Leaf().Equal(other.pair.Leaf()) {
		return "the leaf is the same"
	}
	return ""
}

func (i *issuing) look(name string) (s issued) {
	if err := cluster.Get(i.Context(), client.ObjectKey{Namespace: issuingNamespace, Name: name}, &s.secret); err != nil {
		s.problem = err.Error()
		return s
	}
	var err error
	if s.pair, err = pki.ParseKeyPair(s.secret.Data[corev1.TLSCertKey], s.secret.Data[corev1.TLSPrivateKeyKey]); err != nil {
		s.problem = err.Error()
		return s
	}
	if s.authorities, err = pki.ParseBundle(s.secret.Data["ca.crt"]); err != nil {
		s.problem = err.Error()
	}
	return s
}

// awaitSecret waits until missing returns "" for what the Secret holds.
func (i *issuing) awaitSecret(what, name string, missing func(issued) string) (s issued) {
	i.Helper()
	begun := time.Now()
	err := harness.Await(i.Context(), what, issueLimit, func(context.Context) string {
		if s = i.look(name); s.problem != "" {
			return s.problem
		}
		return missing(s)
	})
	if err != nil {
		i.Fatal(err)
	}
	i.Logf("%s after %s", what, time.Since(begun).Round(100*time.Millisecond))
	return s
}

func (i *issuing) awaitStatus(what, name string, seen func(certmanager.Status) bool) (status certmanager.Status) {
	i.Helper()
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(certmanager.CertificateGVK)
	err := harness.Await(i.Context(), what, issueLimit, func(ctx context.Context) string {
		if err := cluster.Get(ctx, client.ObjectKey{Namespace: issuingNamespace, Name: name}, certificate); err != nil {
			return err.Error()
		}
		if status = certmanager.StatusOf(certificate); seen(status) {
			return ""
		}
		return "cert-manager says " + status.Reason + ": " + status.Message
	})
	if err != nil {
		i.Fatal(err)
	}
	i.Logf("%s: %+v", what, status)
	return status
}
