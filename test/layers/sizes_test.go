package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a reader can hold in the head at once.
const (
	maxMethods = 15   // of a type
	maxLines   = 2000 // of a package, tests left out
)

func TestTypesAndPackagesAreSmall(t *testing.T) {
	for name, size := range productSizes(t) {
		limit := maxLines
		if strings.Contains(filepath.Base(name), ".") {
			limit = maxMethods
		}
		if size > limit {
			t.Errorf("%s has %d (lines of a package, methods of a type), and %d are allowed", name, size, limit)
		}
	}
}

// productSizes returns the lines of each package and the methods of each type ("package.Type").
func productSizes(t *testing.T) map[string]int {
	t.Helper()
	sizes := map[string]int{}
	for _, tree := range []string{"api", "internal", "cmd"} {
		files, err := goFiles(filepath.Join(root(t), tree))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			place, err := filepath.Rel(root(t), filepath.Dir(file))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(filepath.Base(file), "zz_generated") {
				count(t, sizes, place, file)
			}
		}
	}
	if sizes["internal/pki"] == 0 {
		t.Fatal("found no package: is the place of the sources another one?")
	}
	return sizes
}

func count(t *testing.T, sizes map[string]int, place, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sizes[place] += strings.Count(string(content), "\n")
	parsed, err := parser.ParseFile(token.NewFileSet(), file, content, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, declaration := range parsed.Decls {
		if method, ok := declaration.(*ast.FuncDecl); ok && method.Recv != nil {
			sizes[place+"."+receiver(method.Recv.List[0].Type)]++
		}
	}
}

func receiver(expression ast.Expr) string {
	switch typed := expression.(type) {
	case *ast.StarExpr:
		return receiver(typed.X)
	case *ast.IndexExpr:
		return receiver(typed.X)
	case *ast.Ident:
		return typed.Name
	}
	return "?"
}

// readers are the directories and files of the controllers that observe and decide.
var readers = []string{
	"internal/controller/tls/gather", "internal/controller/cluster/decide", "internal/controller/cluster/denial",
	"internal/controller/cluster/observe.go", "internal/controller/cluster/asker.go",
}

// TestReadersHaveNoWriter: what observes a cluster cannot change it.
func TestReadersHaveNoWriter(t *testing.T) {
	for _, place := range readers {
		files, err := goFiles(filepath.Join(root(t), place))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Fatalf("found no file in %s", place)
		}
		for _, file := range files {
			namesNoWriter(t, file)
		}
	}
}

func namesNoWriter(t *testing.T, file string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(node ast.Node) bool {
		if writer := writerNamed(node); writer != "" {
			t.Errorf("%s names %s", filepath.Base(file), writer)
		}
		return true
	})
}

// writerNamed returns what a node names that can write, "" when it names none.
func writerNamed(node ast.Node) string {
	selector, ok := node.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	from, ok := selector.X.(*ast.Ident)
	if !ok {
		return ""
	}
	switch name := from.Name + "." + selector.Sel.Name; name {
	case "client.Client", "client.Writer", "client.StatusWriter", "client.SubResourceWriter", "client.New", "kube.Applier", "events.EventRecorder":
		return name
	}
	return ""
}
