package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// checkout is a small repository with one recipe: a Dockerfile, a script beside it, a base and a binary.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "images/debian/Dockerfile", "FROM scratch\n", 0o644)
	write(t, root, "images/thing/Dockerfile", "ARG BASE\nFROM ${BASE}\n", 0o644)
	write(t, root, "images/thing/hook", "#!/bin/sh\n", 0o755)
	write(t, root, "bin/thing", "ELF", 0o755)
	return root
}

func write(t *testing.T, root, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // of a file that existed before
		t.Fatal(err)
	}
}

func thing() recipe {
	return recipe{Name: "thing", Folder: "images/thing", Suite: "trixie", Args: map[string]string{"A": "1", "B": "2"}, Binary: "thing"}
}

func mustKey(t *testing.T, root string, r recipe) key {
	t.Helper()
	k, err := keyOf(root, r)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyChangesWithEverythingThatGoesIn(t *testing.T) {
	tests := map[string]func(t *testing.T, root string, r *recipe){
		"a line of the Dockerfile": func(t *testing.T, root string, _ *recipe) {
			write(t, root, "images/thing/Dockerfile", "ARG BASE\nFROM ${BASE}\nUSER 26\n", 0o644)
		},
		"a new file": func(t *testing.T, root string, _ *recipe) {
			write(t, root, "images/thing/more", "", 0o644)
		},
		"the name of a file": func(t *testing.T, root string, _ *recipe) {
			if err := os.Rename(filepath.Join(root, "images/thing/hook"), filepath.Join(root, "images/thing/hooked")); err != nil {
				t.Fatal(err)
			}
		},
		"whether a file may be executed": func(t *testing.T, root string, _ *recipe) {
			write(t, root, "images/thing/hook", "#!/bin/sh\n", 0o644)
		},
		"the recipe of the base": func(t *testing.T, root string, _ *recipe) {
			write(t, root, "images/debian/Dockerfile", "FROM scratch\nADD root.tar /\n", 0o644)
		},
		"the binary": func(t *testing.T, root string, _ *recipe) {
			write(t, root, "bin/thing", "FLE", 0o755)
		},
		"the release":        func(_ *testing.T, _ string, r *recipe) { r.Suite = "bookworm" },
		"no release":         func(_ *testing.T, _ string, r *recipe) { r.Suite = "" },
		"no binary":          func(_ *testing.T, _ string, r *recipe) { r.Binary = "" },
		"an argument":        func(_ *testing.T, _ string, r *recipe) { r.Args["A"] = "2" },
		"another argument":   func(_ *testing.T, _ string, r *recipe) { r.Args["C"] = "" },
		"swapped arguments":  func(_ *testing.T, _ string, r *recipe) { r.Args["A"], r.Args["B"] = "2", "1" },
		"one argument fewer": func(_ *testing.T, _ string, r *recipe) { delete(r.Args, "B") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			root, r := checkout(t), thing()
			before := mustKey(t, root, r)
			change(t, root, &r)
			if after := mustKey(t, root, r); after == before {
				t.Errorf("the key stays %s", before)
			}
		})
	}
}

func TestKeyIgnoresPlaceAndTime(t *testing.T) {
	one, other := checkout(t), checkout(t)
	old := time.Unix(1, 0)
	if err := os.Chtimes(filepath.Join(other, "images/thing/Dockerfile"), old, old); err != nil {
		t.Fatal(err)
	}
	a, b := mustKey(t, one, thing()), mustKey(t, other, thing())
	if a != b {
		t.Errorf("the same content has the keys %s and %s", a, b)
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(string(a)) {
		t.Errorf("key %q is not 16 hexadecimal digits", a)
	}
}

func TestKeyOfAnImageWithoutItsBinaryTellsWhatToDo(t *testing.T) {
	root := checkout(t)
	if err := os.Remove(filepath.Join(root, "bin/thing")); err != nil {
		t.Fatal(err)
	}
	_, err := keyOf(root, thing())
	if err == nil || !strings.Contains(err.Error(), "image thing carries bin/thing, which is not built yet: run make build") {
		t.Errorf("got error %v", err)
	}
}

func TestHasherKeepsItemsApart(t *testing.T) {
	seen := map[key]string{}
	for name, groups := range map[string][][]string{
		"ab":     {{"ab"}},
		"a b":    {{"a", "b"}},
		"a, b":   {{"a"}, {"b"}},
		"b a":    {{"b", "a"}},
		"ab and": {{"ab", ""}},
		"none":   {{}},
	} {
		h := newHasher()
		for _, items := range groups {
			h.text(items...)
		}
		if other, ok := seen[h.key()]; ok {
			t.Errorf("%q and %q have the same key", name, other)
		}
		seen[h.key()] = name
	}
}
