package harness

import (
	"crypto/x509"
	"encoding/pem"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leafOf reads the first certificate of a chain. The harness does not use
// internal/pki for it: it must not share the mistakes of what it tests.
func leafOf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// resumeAt makes a watch begin right after a list.
func resumeAt(version string) *metav1.ListOptions {
	return &metav1.ListOptions{ResourceVersion: version}
}
