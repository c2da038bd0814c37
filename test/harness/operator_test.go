package harness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const operatorManifest = `apiVersion: v1
kind: Namespace
metadata: {name: pgtls-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pgtls-operator, namespace: pgtls-system}
spec:
  template:
    spec:
      containers:
      - name: operator
        image: somewhere/operator:1
        env:
        - {name: RELATED_IMAGE_AGENT, value: "somewhere/agent:1"}
        - {name: POD_NAMESPACE, value: pgtls-system}
---
`

func TestManifestsGetTheBuiltImages(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "operator.yaml"), []byte(operatorManifest), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := readManifests(folder, Images{"operator": "localhost/pgtls/operator:2", "agent": "localhost/pgtls/agent:2"})
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 {
		t.Fatalf("%d objects, want 2", len(objects))
	}
	containers, _, err := unstructured.NestedSlice(objects[1].Object, "spec", "template", "spec", "containers")
	if err != nil {
		t.Fatal(err)
	}
	want := []any{map[string]any{
		"name": "operator", "image": "localhost/pgtls/operator:2",
		"env": []any{
			map[string]any{"name": "POD_NAMESPACE", "value": "pgtls-system"},
			map[string]any{"name": "RELATED_IMAGE_AGENT", "value": "localhost/pgtls/agent:2"},
		},
	}}
	if diff := cmp.Diff(want, containers); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}

func TestAFolderWithoutManifestsIsAnError(t *testing.T) {
	if _, err := readManifests(t.TempDir(), Images{}); err == nil {
		t.Error("no error: an operator that was never installed would be waited for")
	}
}

func TestImagesSurviveTheEnvironment(t *testing.T) {
	images := Images{"operator": "localhost/pgtls/operator:0123", "postgres-17": "registry.example.com:5000/pgtls/postgres-17:4567"}
	got, err := ParseImages(images.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(images, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if _, err := ParseImages("operator"); err == nil {
		t.Error("no error for a pair without reference")
	}
}

func TestParseTableOfTheConsole(t *testing.T) {
	got := parseTable("type|user|addr|tls\nS|hippo|10.244.1.7|TLSv1.3/TLS_AES_256_GCM_SHA384\n")
	want := []map[string]string{{"type": "S", "user": "hippo", "addr": "10.244.1.7", "tls": "TLSv1.3/TLS_AES_256_GCM_SHA384"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
