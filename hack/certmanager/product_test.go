package main

import (
	"path/filepath"
	"regexp"
	"testing"

	"pgtls.dev/pgtls/hack/buildcache"
)

func TestTheProductIsNamedAfterVersionAndContent(t *testing.T) {
	root, err := buildcache.Root()
	if err != nil {
		t.Fatal(err)
	}
	p, err := describe(filepath.Join(root, "hack", "certmanager", "controller"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^cert-manager-v1\.[0-9]+\.[0-9]+-[0-9a-f]{12}$`).MatchString(p.Name) {
		t.Errorf("it is called %s", p.Name)
	}
}
