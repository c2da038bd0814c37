//go:build envtest

// Package envtest asks a real API server what it makes of the CRD: which
// manifests it takes, and with which words it refuses the others.
//
// KUBEBUILDER_ASSETS names a directory with kube-apiserver and etcd;
// "make bin/devcluster && bin/devcluster assets" prints one.
package envtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// startLimit is generous: the machine may be building something else meanwhile.
const startLimit = 3 * time.Minute

// Clients of the API server under test, which config reaches.
var (
	cluster client.Client // asks for strict validation, as kubectl does
	lenient client.Client // does not, as most others
	config  *rest.Config
)

func TestMain(m *testing.M) { os.Exit(runWithAPIServer(m)) }

func runWithAPIServer(m *testing.M) (code int) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: run \"make test-envtest\", or set it to what \"make bin/devcluster && bin/devcluster assets\" prints")
		return 1
	}
	server := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("..", "..", "config", "crd")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: startLimit,
		ControlPlaneStopTimeout:  startLimit,
	}
	defer func() {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
			code = 1
		}
	}()
	var err error
	if config, err = server.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "starting the API server with the CRD:", err)
		return 1
	}
	if err := connect(); err != nil {
		fmt.Fprintln(os.Stderr, "connecting to the API server:", err)
		return 1
	}
	return m.Run()
}

func connect() error {
	var err error
	if lenient, err = client.New(config, client.Options{}); err != nil {
		return err
	}
	cluster = client.WithFieldValidation(lenient, "Strict")
	return nil
}

// readManifest returns testdata/<name>, with each patch merged into it in turn (RFC 7396, in YAML).
func readManifest(t *testing.T, name string, patches ...string) *unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	manifest := parse(t, string(content))
	for _, patch := range patches {
		merge(manifest, parse(t, patch))
	}
	return &unstructured.Unstructured{Object: manifest}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return parsed
}

// merge is a JSON merge patch: maps are merged, null removes, everything else replaces.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		nested, isMap := value.(map[string]any)
		existing, hasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && hasMap:
			merge(existing, nested)
		default:
			into[key] = value
		}
	}
}

// tryCreate has the API server judge the manifest without storing it.
func tryCreate(ctx context.Context, manifest *unstructured.Unstructured) error {
	return cluster.Create(ctx, manifest, client.DryRunAll)
}
