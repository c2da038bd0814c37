package snapshot

import (
	"crypto/x509"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// StoredAuthority is a generation with the Secrets that hold it.
type StoredAuthority struct {
	Facts          facts.Authority
	Authority      *pki.Authority    // nil when it cannot be read
	Certificate    *x509.Certificate // of the authority; nil when it is not known
	Forward        *x509.Certificate // bridges; nil when there are none
	Backward       *x509.Certificate
	Older          *x509.Certificate
	Original, Twin *corev1.Secret // nil when there are none
	Differ         bool           // both can be read, and hold different authorities

	// Data and Marks are what is stored again where one of the two Secrets is gone: of the original when there is one, else of
	// the copy, else as remembered. nil when it cannot be read.
	Data  map[string][]byte
	Marks map[string]string
}
