package layers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// certificateMakers are the files that may sign certificates by themselves; tests use internal/pki/pkitest.
var certificateMakers = []string{
	"internal/pki/authority.go",        // the product's authorities and leaves
	"internal/agent/loopback.go",       // the agent's certificate on the loopback interface
	"internal/pki/pkitest/pkitest.go",  // the builder of all tests
	"hack/devcluster/pki.go",           // the throwaway Kubernetes, a module of its own
	"test/layers/certificates_test.go", // this file names the function
}

// TestOneBuilderOfCertificates: a second one would have faults of its own, and tests would pass by them.
func TestOneBuilderOfCertificates(t *testing.T) {
	top := root(t)
	for _, file := range trackedFiles(t, top) {
		if !strings.HasSuffix(file, ".go") || slices.Contains(certificateMakers, file) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			continue // deleted, not yet committed
		}
		if line := lineWith(content, "x509.CreateCertificate("); line > 0 {
			t.Errorf("%s:%d signs a certificate by itself: use internal/pki/pkitest", file, line)
		}
	}
}
