package layers

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgtls.dev/pgtls/test/require"
)

// TestNoPathOfThisMachine looks for the checkout's own place, and for Go's
// caches, in every file that git knows: a build that needs them works here only.
func TestNoPathOfThisMachine(t *testing.T) {
	top := root(t)
	paths := machinePaths(t, top)
	for _, file := range trackedFiles(t, top) {
		content, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			continue // deleted, not yet committed; or a link to nowhere
		}
		for _, path := range paths {
			if line := lineWith(content, path); line > 0 {
				t.Errorf("%s:%d names %s", file, line, path)
			}
		}
	}
}

func machinePaths(t *testing.T, top string) []string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	paths := append(strings.Fields(string(output)), top)
	// What lies beside the checkout, unless its parent is a name as common as /src.
	if parent := filepath.Dir(top); strings.Count(parent, "/") > 1 {
		paths = append(paths, parent+"/")
	}
	return paths
}

func trackedFiles(t *testing.T, top string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	command.Dir = top
	output, err := command.Output()
	if err != nil {
		require.Missing(t, fmt.Sprintf("no git checkout: %v", err))
	}
	return strings.FieldsFunc(string(output), func(r rune) bool { return r == 0 })
}

// lineWith returns the number of the first line that contains text, from 1, or 0.
func lineWith(content []byte, text string) int {
	before, _, found := bytes.Cut(content, []byte(text))
	if !found {
		return 0
	}
	return bytes.Count(before, []byte("\n")) + 1
}
