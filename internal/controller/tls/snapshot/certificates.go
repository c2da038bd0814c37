package snapshot

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Certificates are the Certificates of cert-manager that the cluster controls.
type Certificates struct {
	// Unavailable: cert-manager's kind is not known here.
	Unavailable bool
	// Err is why they could not be read; nothing is known of them then.
	Err error
	// Owned are those that exist, sorted by name.
	Owned []unstructured.Unstructured
}

// Named returns the one of a name, nil when there is none.
func (c *Certificates) Named(name string) *unstructured.Unstructured {
	i := slices.IndexFunc(c.Owned, func(u unstructured.Unstructured) bool { return u.GetName() == name })
	if i < 0 {
		return nil
	}
	return &c.Owned[i]
}
