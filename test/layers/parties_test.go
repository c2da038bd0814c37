package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kindsOfParty are the variables of internal/party.
var kindsOfParty = []string{"Operator", "Instance", "Pooler", "Application"}

// Code that compares a kind of party is a place where a new kind would be forgotten.
func TestNoCodeComparesAKindOfParty(t *testing.T) {
	read := 0
	for _, tree := range []string{"internal", "cmd"} {
		files, err := goFiles(filepath.Join(root(t), tree))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			read++
			for _, at := range comparedKinds(file) {
				t.Errorf("%s compares a kind of party: give the kinds a field in internal/party, and ask it", set.Position(at))
			}
		}
	}
	if read < 100 {
		t.Errorf("only %d files were read", read)
	}
}

func TestComparedKindsAreFound(t *testing.T) {
	for text, want := range map[string]int{
		"if p.Kind == party.Instance { }": 1, "_ = party.Pooler != k": 1, "switch k { case party.Operator, party.Application: }": 2,
		"_ = p.Kind.InLedger": 0, "_ = party.Instance.Name": 0, `_ = p.Kind.Name == "pooler"`: 1, `_ = p.Name == "pooler"`: 0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { "+text+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(comparedKinds(file)); got != want {
			t.Errorf("%s: %d found, want %d", text, got, want)
		}
	}
}

// comparedKinds are the places where a kind of internal/party, or the name of one, is an operand of == or != or a case.
func comparedKinds(file *ast.File) (at []token.Pos) {
	check := func(expressions ...ast.Expr) {
		for _, e := range expressions {
			if isKind(e) {
				at = append(at, e.Pos())
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				check(n.X, n.Y)
			}
		case *ast.CaseClause:
			check(n.List...)
		}
		return true
	})
	return at
}

// isKind knows party.Instance, and the name of a kind as p.Kind.Name.
func isKind(e ast.Expr) bool {
	selected, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	if of, ok := selected.X.(*ast.Ident); ok {
		return of.Name == "party" && slices.Contains(kindsOfParty, selected.Sel.Name)
	}
	of, ok := selected.X.(*ast.SelectorExpr)
	return ok && selected.Sel.Name == "Name" && strings.HasSuffix(of.Sel.Name, "Kind")
}
