package main

import (
	"path/filepath"
	"testing"

	"pgtls.dev/pgtls/hack/buildcache"
)

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

func TestEveryProductIsDescribedFromTheCheckout(t *testing.T) {
	root, err := buildcache.Root()
	if err != nil {
		t.Fatal(err)
	}
	p, err := describeProducts(root)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, product := range p.all() {
		for _, file := range product.Files {
			files[file] = true
		}
	}
	for _, d := range daemons(layout{state: "/state"}, nodesUpTo(1)) {
		if dir, name := filepath.Split(d.argv[0]); dir == "/state/bin/" && !files[name] {
			t.Errorf("%s runs %s, which no product holds", d.name, name)
		}
	}
}
