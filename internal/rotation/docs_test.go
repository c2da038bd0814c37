package rotation

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/rekey"
)

// update writes the tables of docs/rotation.md anew: go test ./internal/rotation -run Docs -update.
var update = flag.Bool("update", false, "write the tables of docs/rotation.md from the rules")

const docs = "../../docs/rotation.md"

// historical are the invariants that are about histories, and where they are tested.
var historical = []struct{ name, says string }{
	{"BoundedProgress", "a healthy cluster comes to rest after a bounded number of rounds, and then the plan has no step (tests only)"},
	{"Isolation", "whatever one step fails for ever, no other party's leaf expires (tests only)"},
}

func TestDocsHaveTheRules(t *testing.T) {
	for name, want := range map[string]string{"guards": guardsTable(), "invariants": invariantsTable()} {
		page := readDocs(t)
		begin, end := "<!-- "+name+": generated -->\n", "<!-- /"+name+" -->"
		before, rest, found := strings.Cut(page, begin)
		got, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("docs/rotation.md has no part %q", begin)
		}
		if *update {
			if err := os.WriteFile(docs, []byte(before+begin+want+end+after), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the %s of docs/rotation.md: run the test with -update (-rules +docs):\n%s", name, diff)
		}
	}
}

func readDocs(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func guardsTable() string {
	var b strings.Builder
	b.WriteString("| transition | guard |\n|---|---|\n")
	row := func(transition, guard string) { fmt.Fprintf(&b, "| %s | %s |\n", transition, guard) }
	r := Standard()
	for _, of := range []struct {
		transition string
		guards     []rekey.Guard
	}{
		{"a new authority becomes active", r.Rekey.Activation}, {"`TrustNew`", r.Rekey.TrustNew}, {"`SwitchSigner`", r.Rekey.SwitchSigner}, {"`RollBack`", r.Rekey.RollBack},
		{"`DropOld`", r.Rekey.DropOld}, {"`DiscardAuthority`", r.Rekey.DiscardAuthority},
	} {
		for _, g := range of.guards {
			row(of.transition, g.Name)
		}
	}
	for _, c := range r.Rekey.Chain {
		row("a chain presents", c.Name)
	}
	for _, v := range r.External.Trust {
		row("a custom certificate is presented", v.Name)
	}
	for _, g := range r.External.Propagation {
		row("a custom certificate is presented", g.Name)
	}
	for _, g := range r.External.DropAnchor {
		row("`DropAnchor`", g.Name)
	}
	return b.String()
}

func invariantsTable() string {
	var b strings.Builder
	b.WriteString("| name | says |\n|---|---|\n")
	for _, i := range invariant.All() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", i.Name, i.Says)
	}
	for _, i := range historical {
		fmt.Fprintf(&b, "| `%s` | %s |\n", i.name, i.says)
	}
	return b.String()
}

// TestDocsEveryGuardCarriesAClause: each guard and each invariant is named by a clause of the safety argument, or stands among those
// that are not about a client.
func TestDocsEveryGuardCarriesAClause(t *testing.T) {
	_, rest, found := strings.Cut(readDocs(t), "## Why no client is refused\n")
	argument, _, closed := strings.Cut(rest, "\n## ")
	if !found || !closed {
		t.Fatal("docs/rotation.md has no section with the safety argument")
	}
	names := allGuards()
	for _, i := range invariant.All() {
		names = append(names, i.Name)
	}
	for _, i := range historical {
		names = append(names, i.name)
	}
	for _, name := range names {
		if n := strings.Count(argument, "*"+name+"*") + strings.Count(argument, "`"+name+"`"); n == 0 {
			t.Errorf("no clause of the safety argument names %q", name)
		}
	}
	for i, part := range strings.Split(argument, "*") { // what stands between two asterisks
		if i%2 == 1 && !slices.Contains(names, part) {
			t.Errorf("the safety argument names %q, which is no guard", part)
		}
	}
}

// TestEveryStepThatMattersIsJudged: each type of step that changes what is trusted or presented is looked at by some invariant.
func TestEveryStepThatMattersIsJudged(t *testing.T) {
	harmless := map[string]string{
		"Prove": "a handshake", "Retrigger": "the same revision again", "TakeBack": "an owner reference; the content was checked", "NoteUnused": "a note that begins the soak",
		"EndSessions": "clients come again",
	}
	judged := map[string]bool{}
	parseAll(t, "invariant", func(n ast.Node) {
		if is, ok := n.(*ast.SelectorExpr); ok {
			if from, ok := is.X.(*ast.Ident); ok && from.Name == "plan" {
				judged[is.Sel.Name] = true
			}
		}
	})
	steps := 0
	parseAll(t, "plan", func(n ast.Node) {
		f, ok := n.(*ast.FuncDecl)
		if !ok || f.Recv == nil || f.Name.Name != "Op" {
			return
		}
		steps++
		name := f.Recv.List[0].Type.(*ast.Ident).Name
		if judged[name] == (harmless[name] != "") {
			t.Errorf("%s is judged by an invariant: %t; the reason why not: %q", name, judged[name], harmless[name])
		}
	})
	if steps < 15 {
		t.Errorf("only %d types of steps were read", steps)
	}
}

func parseAll(t *testing.T, pkg string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool { visit(n); return true })
	}
}
