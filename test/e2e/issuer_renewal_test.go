//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/test/harness"
)

const (
	issuedLife    = 5 * time.Minute
	issuedRenewal = 4*time.Minute + 15*time.Second // before the end: every 45 s
)

// issuerRenewal has cert-manager's own controller issue what PostgreSQL serves and what replicas present, with a life of five
// minutes, and renew it under load. "make test": 2 renewals; "make soak": 5.
func issuerRenewal(s *story) {
	config, err := kube.Config()
	s.must(err)
	harness.StartCertManager(s.T, config, filepath.Join(os.Getenv(harness.RootVariable), "_artifacts", "e2e", "cert-manager.log"))
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2).With(followSoon))
	pods := s.identities(c)
	s.issuer(c, "company", harness.NewCompany("Company"))
	l := s.underLoad(c, medium)

	begun := time.Now()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) { askIssuer(&cluster.Spec) }))
	issued := map[string]string{}
	s.awaitIssued(c, l, issued)
	s.fact("adoptedMs", time.Since(begun).Milliseconds())
	for range sized.issuerRenewals {
		s.awaitIssued(c, l, issued)
	}
	s.fact("renewals", sized.issuerRenewals)
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
}

func askIssuer(spec *v1beta1.PostgresClusterSpec) {
	short := v1beta1.CertificateSpec{Duration: harness.CertificateDuration(issuedLife), RenewBefore: harness.CertificateDuration(issuedRenewal)}
	spec.TLS.Server = &v1beta1.ServerTLSSpec{
		IssuerRef: &v1beta1.IssuerReference{Name: "company"},
		Instances: &v1beta1.ServerCertificateSpec{CertificateSpec: short, DNSNames: []string{"*.hippo-pods.e2e-issuer-renewal.svc"}},
	}
	spec.TLS.Client = &v1beta1.ClientTLSSpec{IssuerRef: &v1beta1.IssuerReference{Name: "company"}, Replication: &short}
}

// issuer has cert-manager sign as a company.
func (s *story) issuer(c *living, name string, company *harness.Company) {
	s.Helper()
	s.write(c, name+"-ca", company.Authority())
	issuer := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"ca": map[string]any{"secretName": name + "-ca"}}}}
	issuer.SetGroupVersionKind(certmanager.CertificateGVK.GroupVersion().WithKind(certmanager.IssuerKind))
	issuer.SetNamespace(c.Namespace)
	issuer.SetName(name)
	s.must(kube.Create(s.Context(), issuer))
}

// awaitIssued waits until each Secret that cert-manager fills holds another certificate than before, and every pod presents it.
func (s *story) awaitIssued(c *living, l *load, issued map[string]string) {
	s.Helper()
	for role, p := range map[certmanager.Role]place{certmanager.InstancesRole: serverPlace, certmanager.ReplicationRole: replicationPlace, certmanager.PGBouncerRole: poolerPlace} {
		name := certmanager.Name(c.Name, role)
		if issued[name] != "" && role == certmanager.PGBouncerRole {
			continue // its life is the usual one
		}
		s.eventually("a new certificate in "+name, customLimit, func(ctx context.Context) string {
			var secret corev1.Secret
			if err := kube.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, &secret); err != nil {
				return err.Error()
			}
			serial := serialOf(secret.Data["tls.crt"])
			if serial == "" || serial == issued[name] {
				return "it is the one of before"
			}
			if missing := s.notPresented(c, p, serial); missing != "" {
				return missing
			}
			if missing := notServed(l, p, serial); missing != "" {
				return missing
			}
			issued[name] = serial
			return ""
		})
	}
}

// notServed names a pod that was not seen to serve a leaf; what replicas present is seen by the primary alone.
func notServed(l *load, p place, serial string) string {
	if p.condition == replicationPlace.condition {
		return ""
	}
	instances, err := l.cluster.Instances(l.story.Context())
	if err != nil {
		return err.Error()
	}
	isOne := map[string]bool{}
	for _, pod := range instances {
		isOne[pod.Name] = true
	}
	for pod, served := range l.deliveries.Serving() {
		if isOne[pod] == (p.condition == serverPlace.condition) && served != serial {
			return fmt.Sprintf("pod %s serves %s", pod, served)
		}
	}
	return ""
}
