package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The Makefile leaves tests out of the pass with the race detector by their names, and runs those of one folder without it. A test
// of such a name elsewhere would run in neither.
func TestNoTestIsLeftOutOfBothPasses(t *testing.T) {
	const root = "../.."
	pattern, folder := makeVariable(t, root, "WALKS"), strings.TrimSuffix(strings.TrimPrefix(makeVariable(t, root, "WALKED"), "./"), "...")
	walks, err := regexp.Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	command := exec.CommandContext(t.Context(), "git", "ls-files", "*_test.go")
	command.Dir = root
	files, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range strings.Fields(string(files)) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue // deleted, not yet committed
		}
		for _, match := range function.FindAllStringSubmatch(string(text), -1) {
			switch {
			case !walks.MatchString(match[1]):
			case strings.HasPrefix(file, folder):
				found++
			default:
				t.Errorf("%s: %s has the name of a walk and is not in %s: no pass runs it", file, match[1], folder)
			}
		}
	}
	if found == 0 {
		t.Errorf("no test in %s has the name of a walk: take WALKS out of the Makefile", folder)
	}
}

// makeVariable as make itself has it.
func makeVariable(t *testing.T, root, name string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", "--silent", "--no-print-directory", "--eval=print: ; @printf '%s' '$("+name+")'", "print")
	command.Dir = root
	value, err := command.Output()
	if err != nil {
		t.Fatalf("asking make for %s: %v", name, err)
	}
	return string(value)
}
