package harness

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDefinitionsAreReadOneByOne(t *testing.T) {
	const two = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: a.example.com\n---\n" +
		"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: b.example.com\n"
	file := filepath.Join(t.TempDir(), "crds.yaml")
	if err := os.WriteFile(file, []byte(two), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := readDefinitions(file)
	if err != nil || len(read) != 2 || read[0].Name != "a.example.com" || read[1].Name != "b.example.com" {
		t.Errorf("read %v, %v", read, err)
	}
	if err := os.WriteFile(file, []byte("kind: [CustomResourceDefinition]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readDefinitions(file); err == nil {
		t.Error("garbage is read")
	}
}
