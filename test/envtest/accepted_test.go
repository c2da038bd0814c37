//go:build envtest

package envtest

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestAccepted(t *testing.T) {
	for _, name := range []string{"minimal.yaml", "full.yaml", "pgo.yaml"} {
		t.Run(name, func(t *testing.T) {
			if err := tryCreate(t.Context(), readManifest(t, name)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	manifest := readManifest(t, "minimal.yaml", `spec: {proxy: {pgBouncer: {}}, patroni: {}, service: {}, tls: {}}`)
	if err := tryCreate(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		path []string
		is   any
	}{
		{[]string{"proxy", "pgBouncer", "replicas"}, int64(1)},
		{[]string{"proxy", "pgBouncer", "port"}, int64(5432)},
		{[]string{"patroni", "leaderLeaseDurationSeconds"}, int64(30)},
		{[]string{"patroni", "syncPeriodSeconds"}, int64(10)},
		{[]string{"service", "type"}, "ClusterIP"},
		{[]string{"tls", "minimumVersion"}, "1.3"},
	} {
		got, _, err := unstructured.NestedFieldNoCopy(manifest.Object, append([]string{"spec"}, want.path...)...)
		if err != nil || got != want.is {
			t.Errorf("spec.%s is %v (%v), want %v", strings.Join(want.path, "."), got, err, want.is)
		}
	}
	sets, _, _ := unstructured.NestedSlice(manifest.Object, "spec", "instances")
	if set := sets[0].(map[string]any); set["name"] != "00" || set["replicas"] != int64(1) {
		t.Errorf("instance set is %v, want name 00 and 1 replica", set)
	}
}
