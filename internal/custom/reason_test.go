package custom

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestReasonsIsTheWholeSet reads the source: every constant of the type is in Reasons.
func TestReasonsIsTheWholeSet(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			declared += len(spec.Names)
		}
		return true
	})
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		seen[r] = true
	}
	if declared != len(seen) || len(seen) != len(Reasons()) {
		t.Errorf("%d constants, %d in Reasons, %d of them different", declared, len(Reasons()), len(seen))
	}
}
