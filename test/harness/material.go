package harness

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/agentapi"
)

// MaterialProblem says what is wrong with a material Secret, "" if it is whole: every pair in it
// belongs together and verifies against the bundle in it.
func (c *Cluster) MaterialProblem(ctx context.Context, name string) string {
	var secret corev1.Secret
	if err := c.Kube.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, &secret); err != nil {
		return err.Error()
	}
	if secret.DeletionTimestamp != nil {
		return "it is being deleted"
	}
	return materialProblem(secret.Data, name == c.Name+"-operator-tls")
}

func materialProblem(data map[string][]byte, clientOnly bool) string {
	if err := verifyPair(data, agentapi.ClientCertificate, agentapi.ClientKey, agentapi.ClientBundle, x509.ExtKeyUsageClientAuth); err != nil {
		return err.Error()
	}
	if clientOnly {
		return bundleProblem(data[agentapi.ServerBundle])
	}
	if err := verifyPair(data, agentapi.ServerCertificate, agentapi.ServerKey, agentapi.ServerBundle, x509.ExtKeyUsageServerAuth); err != nil {
		return err.Error()
	}
	return ""
}

func verifyPair(data map[string][]byte, certificate, key, bundle string, usage x509.ExtKeyUsage) error {
	pair, err := tls.X509KeyPair(data[certificate], data[key])
	if err != nil {
		return fmt.Errorf("%s and %s: %w", certificate, key, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data[bundle]) {
		return fmt.Errorf("%s holds no certificate", bundle)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Errorf("%s: %w", certificate, err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return fmt.Errorf("%s against %s: %w", certificate, bundle, err)
	}
	return nil
}

func bundleProblem(bundle []byte) string {
	if !x509.NewCertPool().AppendCertsFromPEM(bundle) {
		return agentapi.ServerBundle + " holds no certificate"
	}
	return ""
}
