package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequiredVersionIsFoundInEitherForm(t *testing.T) {
	for _, goMod := range []string{
		"module x\n\nrequire k8s.io/kubernetes v1.34.4\n",
		"module x\n\nrequire (\n\tk8s.io/kubernetes-other v9.9.9\n\tk8s.io/kubernetes v1.34.4\n)\n",
	} {
		got, err := requiredVersion(goMod, "k8s.io/kubernetes")
		if err != nil || got != "v1.34.4" {
			t.Errorf("got %q, %v from:\n%s", got, err, goMod)
		}
	}
	if got, err := requiredVersion("module x\n", "k8s.io/kubernetes"); err == nil {
		t.Errorf("found %q where there is none", got)
	}
}

func TestKubernetesTellsItsVersion(t *testing.T) {
	got, err := kubernetesLDFlags("v1.34.4")
	const want = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
	if err != nil || got != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	if _, err := kubernetesLDFlags("v1"); err == nil {
		t.Error("v1 counts as a version")
	}
}

func TestDigestFollowsContentNameAndFlags(t *testing.T) {
	digest := func(files map[string]string, flags ...string) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			if err := writeFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := digestOf(dir, flags...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	base := digest(map[string]string{"go.mod": "ab", "main.go": "c"}, "-s")
	if again := digest(map[string]string{"go.mod": "ab", "main.go": "c"}, "-s"); again != base {
		t.Error("equal sources differ in digest")
	}
	if tested := digest(map[string]string{"go.mod": "ab", "main.go": "c", "x_test.go": "t"}, "-s"); tested != base {
		t.Error("a test makes the product stale")
	}
	for name, other := range map[string]string{
		"content":  digest(map[string]string{"go.mod": "ab", "main.go": "d"}, "-s"),
		"boundary": digest(map[string]string{"go.mod": "a", "main.go": "bc"}, "-s"),
		"name":     digest(map[string]string{"go.mod": "ab", "mean.go": "c"}, "-s"),
		"flags":    digest(map[string]string{"go.mod": "ab", "main.go": "c"}, "-w"),
	} {
		if other == base {
			t.Errorf("another %s gives the same digest", name)
		}
	}
}

func TestAnInterruptedBuildIsNoProduct(t *testing.T) {
	c, out := cache{dir: t.TempDir()}, newProgress(io.Discard)
	builds, fail := 0, errors.New("cut short")
	p := product{name: "thing-1", files: []string{"a", "b"}, make: func(_ context.Context, dir string) error {
		builds++
		if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o644); err != nil || builds == 1 {
			return errors.Join(err, fail)
		}
		return os.WriteFile(filepath.Join(dir, "b"), nil, 0o644)
	}}
	if err := c.ensure(t.Context(), out, p); !errors.Is(err, fail) || c.has(p) {
		t.Fatalf("first build: %v, in cache %t", err, c.has(p))
	}
	for range 2 {
		if err := c.ensure(t.Context(), out, p); err != nil || !c.has(p) {
			t.Fatalf("later build: %v, in cache %t", err, c.has(p))
		}
	}
	if builds != 2 {
		t.Errorf("built %d times, want 2", builds)
	}
	if err := os.Remove(filepath.Join(c.path(p), "b")); err != nil {
		t.Fatal(err)
	}
	if err := c.ensure(t.Context(), out, p); err != nil || builds != 3 {
		t.Errorf("a product that lacks a file: %v after %d builds, want a third", err, builds)
	}
}

func TestEveryProductIsDescribedFromTheCheckout(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, err := findRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := describeProducts(root)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, product := range p.all() {
		for _, file := range product.files {
			files[file] = true
		}
	}
	for _, d := range daemons(layout{state: "/state"}, nodesUpTo(1)) {
		if dir, name := filepath.Split(d.argv[0]); dir == "/state/bin/" && !files[name] {
			t.Errorf("%s runs %s, which no product holds", d.name, name)
		}
	}
}

func TestOutsideACheckoutTheErrorNamesTheRemedy(t *testing.T) {
	dir := t.TempDir()
	_, err := findRoot(dir)
	if want := dir + " is not inside a pgtls checkout: run this from there"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestMissingPackagesAreThoseThatDpkgDoesNotCallInstalled(t *testing.T) {
	got := notInstalled([]string{"runc", "buildah", "etcd-server"}, "runc installed\nbuildah config-files\nother installed\n")
	if diff := cmp.Diff([]string{"buildah", "etcd-server"}, got); diff != "" {
		t.Error(diff)
	}
	if got := notInstalled([]string{"runc"}, "runc installed\n"); len(got) != 0 {
		t.Errorf("runc is installed, got %v", got)
	}
}
