package main

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Without a file the operator knows the public authorities all the same: its image has none.
func TestPublicAuthoritiesAreKnownWithoutAFile(t *testing.T) {
	roots := systemRoots("")
	if len(roots) < 50 {
		t.Fatalf("only %d", len(roots))
	}
	for _, root := range roots {
		if !root.IsCA || !bytes.Equal(root.RawIssuer, root.RawSubject) {
			t.Errorf("%s is no anchor", root.Subject)
		}
	}
}

func TestPublicAuthoritiesOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots.pem")
	one := systemRoots("")[0]
	text := slices.Concat([]byte("# a comment\n"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("nothing")}))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if roots := systemRoots(file); len(roots) != 1 || !roots[0].Equal(one) {
		t.Errorf("%d, want the one in the file", len(roots))
	}
	if roots := systemRoots(filepath.Join(t.TempDir(), "missing")); roots != nil {
		t.Errorf("%d out of no file", len(roots))
	}
}
