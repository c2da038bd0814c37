package main

import (
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The Makefile leaves tests out of the pass with the race detector by their names, and runs those of some packages without it. A test
// of such a name elsewhere would run in neither. A package in which all tests are walks would never meet the race detector.
func TestNoTestIsLeftOutOfBothPasses(t *testing.T) {
	const root = "../.."
	packages := strings.Fields(strings.ReplaceAll(makeVariable(t, root, "WALKED"), "./", ""))
	walks, err := regexp.Compile(makeVariable(t, root, "WALKS"))
	if err != nil {
		t.Fatal(err)
	}
	walking, raced := map[string]int{}, map[string]int{}
	for file, test := range tests(t, root) {
		switch folder := filepath.Dir(file); {
		case !walks.MatchString(test):
			raced[folder]++
		case slices.Contains(packages, folder):
			walking[folder]++
		default:
			t.Errorf("%s: %s has the name of a walk and is in none of %v: no pass runs it", file, test, packages)
		}
	}
	for _, folder := range packages {
		if walking[folder] == 0 || raced[folder] < walking[folder] {
			t.Errorf("%s has %d walks and %d other tests: take it out of WALKED in the Makefile, or let more tests run with the race detector",
				folder, walking[folder], raced[folder])
		}
	}
}

// tests returns each test of the repository with its file.
func tests(t *testing.T, root string) iter.Seq2[string, string] {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	command := exec.CommandContext(t.Context(), "git", "ls-files", "*_test.go")
	command.Dir = root
	files, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string, string) bool) {
		for _, file := range strings.Fields(string(files)) {
			text, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				continue // deleted, not yet committed
			}
			for _, match := range function.FindAllStringSubmatch(string(text), -1) {
				if !yield(file, match[1]) {
					return
				}
			}
		}
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
