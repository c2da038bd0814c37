package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryReasonIsDocumented compares the constants of every type that is
// called Reason, or ends so, of reason.Code, and plain strings called reasonX or eventX, with
// the tables in docs/reasons.md.
func TestEveryReasonIsDocumented(t *testing.T) {
	inCode := reasonsInCode(t)
	if len(inCode) == 0 {
		t.Fatal("found no constant of a reason type: did the type get another name?")
	}
	documented := documentedReasons(t)
	for value, place := range inCode {
		if !slices.Contains(documented, value) {
			t.Errorf("%s: reason %s is missing in docs/reasons.md: say what it means and what to do", place, value)
		}
	}
	for _, value := range documented {
		if _, exists := inCode[value]; !exists {
			t.Errorf("docs/reasons.md has %s, which no code gives", value)
		}
	}
}

var documentedReason = regexp.MustCompile("(?m)^\\| `([A-Za-z0-9]+)` \\|")

func documentedReasons(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "reasons.md"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, match := range documentedReason.FindAllSubmatch(page, -1) {
		values = append(values, string(match[1]))
	}
	return values
}

// reasonsInCode returns where each value is declared.
func reasonsInCode(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, tree := range []string{"api", "internal", "cmd"} {
		files, err := goFiles(filepath.Join(root(t), tree))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			positions := token.NewFileSet()
			parsed, err := parser.ParseFile(positions, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for value, at := range reasonConstants(parsed) {
				found[value] = filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file) + ":" + strconv.Itoa(positions.Position(at).Line)
			}
		}
	}
	return found
}

func goFiles(tree string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(tree, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

var plainReason = regexp.MustCompile(`^(reason|event)[A-Z]`)

// reasonConstants returns the values of constants of a type named ...Reason,
// written as "X Reason = ..." or "X = Reason(...)".
func reasonConstants(file *ast.File) map[string]token.Pos {
	found := map[string]token.Pos{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, expression := range spec.Values {
			declared := spec.Type
			if _, isLiteral := expression.(*ast.BasicLit); isLiteral && declared == nil && plainReason.MatchString(spec.Names[i].Name) {
				declared = ast.NewIdent("Reason")
			}
			if value, ok := reasonValue(declared, expression); ok {
				found[value] = spec.Pos()
			}
		}
		return true
	})
	return found
}

func reasonValue(declared, expression ast.Expr) (string, bool) {
	if call, ok := expression.(*ast.CallExpr); ok && declared == nil && len(call.Args) == 1 {
		declared, expression = call.Fun, call.Args[0]
	}
	if !isReasonType(declared) {
		return "", false
	}
	// Reason = kube.ForeignObject: by convention a reason's constant is called what it says.
	if other, ok := expression.(*ast.SelectorExpr); ok {
		return other.Sel.Name, true
	}
	literal, ok := expression.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(literal.Value)
	return value, err == nil && value != ""
}

func isReasonType(expression ast.Expr) bool {
	switch typed := expression.(type) {
	case *ast.Ident:
		return strings.HasSuffix(typed.Name, "Reason") || typed.Name == "Code"
	case *ast.SelectorExpr:
		from, _ := typed.X.(*ast.Ident)
		return strings.HasSuffix(typed.Sel.Name, "Reason") || from != nil && from.Name+"."+typed.Sel.Name == "reason.Code"
	}
	return false
}
