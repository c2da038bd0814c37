//go:build envtest

package envtest

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/harness"
)

// issueLimit is for one certificate: a key is made, and five controllers hand it on.
const issueLimit = 20 * time.Second

// issuing is a namespace in which cert-manager is asked for certificates.
type issuing struct {
	*testing.T
	namespace string
	owner     metav1.OwnerReference
}

// newIssuing makes the namespace. It is never used again: nothing in this API server deletes what is in one.
func newIssuing(t *testing.T, namespace string) *issuing {
	t.Helper()
	i := &issuing{T: t, namespace: namespace}
	space := &unstructured.Unstructured{Object: parse(t, `{apiVersion: v1, kind: Namespace}`)}
	space.SetName(namespace)
	if err := cluster.Create(t.Context(), space); err != nil {
		t.Fatal(err)
	}
	// Stands for the PostgresCluster: what the owner is makes no difference to cert-manager.
	owner := i.create(`{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}}`)
	i.owner = *metav1.NewControllerRef(owner, owner.GroupVersionKind())
	return i
}

func (i *issuing) create(manifest string) *unstructured.Unstructured {
	i.Helper()
	object := &unstructured.Unstructured{Object: parse(i.T, manifest)}
	object.SetNamespace(i.namespace)
	if err := cluster.Create(i.Context(), object); err != nil {
		i.Fatal(err)
	}
	return object
}

// authority makes a CA certificate that lives so long, with a key of its own, and an issuer of the same name that signs with it.
// issuer signs the certificate; "" means that it signs itself.
func (i *issuing) authority(name, issuer string, life, renewBefore time.Duration) {
	i.Helper()
	if issuer == "" {
		issuer = name + "-self"
		i.create(`{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: ` + issuer + `}, spec: {selfSigned: {}}}`)
	}
	i.create(fmt.Sprintf(`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: %[1]s}, spec: {
		isCA: true, commonName: %[1]s, secretName: %[1]s, duration: %[3]s, renewBefore: %[4]s,
		privateKey: {algorithm: ECDSA, size: 256}, issuerRef: {name: %[2]s, kind: Issuer, group: cert-manager.io}}}`,
		name, issuer, life, renewBefore))
	i.issuer(name, name)
}

func (i *issuing) issuer(name, secret string) {
	i.Helper()
	i.create(fmt.Sprintf(`{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: %s}, spec: {ca: {secretName: %s}}}`, name, secret))
}

// request of the issuer called company-ca.
func (i *issuing) request(usage pki.Usage) certmanager.Request {
	r := certmanager.Request{
		Name: certmanager.Name("hippo", certmanager.InstancesRole), Namespace: i.namespace, Owner: i.owner,
		Issuer: v1beta1.IssuerReference{Name: "company-ca"}, Usage: usage,
		CommonName: "hippo-primary", DNSNames: []string{"hippo-primary", "hippo-primary.postgres.svc"},
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
	if err := cluster.Get(i.Context(), client.ObjectKey{Namespace: i.namespace, Name: name}, &s.secret); err != nil {
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

// awaitOtherCertificate is for authorities, which look takes for no leaf to use.
func (i *issuing) awaitOtherCertificate(name string, before []byte) {
	i.Helper()
	err := harness.Await(i.Context(), "another certificate in "+name, issueLimit, func(context.Context) string {
		if bytes.Equal(i.look(name).secret.Data[corev1.TLSCertKey], before) {
			return "it is the same"
		}
		return ""
	})
	if err != nil {
		i.Fatal(err)
	}
}

// awaitLookedAt waits until cert-manager has judged a Certificate anew: it changes a field that asks for no other leaf, and waits
// for a condition about that change.
func (i *issuing) awaitLookedAt(name string) {
	i.Helper()
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(certmanager.CertificateGVK)
	key := client.ObjectKey{Namespace: i.namespace, Name: name}
	if err := cluster.Get(i.Context(), key, certificate); err != nil {
		i.Fatal(err)
	}
	change := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"revisionHistoryLimit": 7}}`))
	if err := cluster.Patch(i.Context(), certificate, change); err != nil {
		i.Fatal(err)
	}
	wanted := certificate.GetGeneration()
	err := harness.Await(i.Context(), "cert-manager to look at "+name, issueLimit, func(ctx context.Context) string {
		if err := cluster.Get(ctx, key, certificate); err != nil {
			return err.Error()
		}
		conditions, _, _ := unstructured.NestedSlice(certificate.Object, "status", "conditions")
		for _, condition := range conditions {
			c, _ := condition.(map[string]any)
			if c["type"] == "Ready" && c["observedGeneration"] == wanted {
				return ""
			}
		}
		return fmt.Sprintf("no condition about generation %d: %v", wanted, conditions)
	})
	if err != nil {
		i.Fatal(err)
	}
}

func (i *issuing) awaitStatus(what, name string, seen func(certmanager.Status) bool) (status certmanager.Status) {
	i.Helper()
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(certmanager.CertificateGVK)
	err := harness.Await(i.Context(), what, issueLimit, func(ctx context.Context) string {
		if err := cluster.Get(ctx, client.ObjectKey{Namespace: i.namespace, Name: name}, certificate); err != nil {
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
