//go:build envtest

package envtest

import "testing"

func TestAccepted(t *testing.T) {
	for _, name := range []string{"minimal.yaml", "full.yaml", "pgo.yaml"} {
		t.Run(name, func(t *testing.T) {
			if err := tryCreate(t.Context(), readManifest(t, name)); err != nil {
				t.Error(err)
			}
		})
	}
}
