package pki

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestReasonOf(t *testing.T) {
	refused := refuse(Expired, "renew it", "the leaf has expired at %d", 7)
	tests := map[string]struct {
		err  error
		want Reason
	}{
		"nothing":        {nil, ""},
		"something else": {errors.New("disk full"), ""},
		"itself":         {refused, Expired},
		"wrapped":        {fmt.Errorf("reading Secret hippo/tls: %w", refused), Expired},
		"joined":         {errors.Join(errors.New("disk full"), refused), Expired},
	}
	for name, test := range tests {
		if got := ReasonOf(test.err); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if want := "the leaf has expired at 7: renew it"; refused.Error() != want {
		t.Errorf("message %q, want %q", refused, want)
	}
}

func TestReasonsAreCamelCaseAndDifferent(t *testing.T) {
	seen := map[Reason]bool{}
	for _, reason := range Reasons() {
		if seen[reason] || !regexp.MustCompile(`^([A-Z][A-Za-z0-9]*)$`).MatchString(string(reason)) {
			t.Errorf("%q is there twice or no CamelCase", reason)
		}
		seen[reason] = true
	}
}

// TestReasonsAreClosedAndAllInUse reads the source: every constant of the type is in Reasons, its text is its name,
// and some code refuses with it.
func TestReasonsAreClosedAndAllInUse(t *testing.T) {
	declared, used := map[string]string{}, map[string]int{}
	for _, file := range productionFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "Reason" {
					text := must[string](t)(strconv.Unquote(n.Values[0].(*ast.BasicLit).Value))
					declared[n.Names[0].Name] = text
				}
			case *ast.Ident:
				used[n.Name]++
			}
			return true
		})
	}
	if len(declared) != len(Reasons()) {
		t.Errorf("%d constants are declared, Reasons returns %d", len(declared), len(Reasons()))
	}
	for name, text := range declared {
		if name != text || !slices.Contains(Reasons(), Reason(text)) {
			t.Errorf("constant %s says %q and is in Reasons: %v", name, text, slices.Contains(Reasons(), Reason(text)))
		}
		if used[name] < 3 { // its declaration, Reasons, and a refusal
			t.Errorf("nothing refuses with %s", name)
		}
	}
}

// TestThePackageIsPure reads the imports and the calls: the standard library alone, no I/O, no clock.
func TestThePackageIsPure(t *testing.T) {
	banned := []string{"os", "io", "io/fs", "net/http", "os/exec", "log", "log/slog", "math/rand", "math/rand/v2", "syscall", "context", "sync"}
	for _, file := range productionFiles(t) {
		for _, spec := range file.Imports {
			path := must[string](t)(strconv.Unquote(spec.Path.Value))
			if slices.Contains(banned, path) || strings.Contains(strings.Split(path, "/")[0], ".") {
				t.Errorf("%s is imported", path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && (x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "NewTimer"}, s.Sel.Name) ||
					x.Name == "net" && slices.Contains([]string{"Dial", "Listen", "LookupHost"}, s.Sel.Name)) {
					t.Errorf("%s.%s is used", x.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
}

func productionFiles(t *testing.T) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, entry := range must[[]os.DirEntry](t)(os.ReadDir(".")) {
		if name := entry.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			files = append(files, must[*ast.File](t)(parser.ParseFile(token.NewFileSet(), name, nil, 0)))
		}
	}
	if len(files) < 5 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}
