package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "pgtls.dev/pgtls/"

// goPackage is what "go list" says of a package, without its tests.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string // directly
	Deps       []string // all that it links
}

// path inside the module, std/... for the standard library (which has an
// internal/ too), or the whole import path of a package from elsewhere.
func (p goPackage) path() string {
	if p.Standard {
		return "std/" + p.ImportPath
	}
	return strings.TrimPrefix(p.ImportPath, module)
}

// graph is every package that the module's packages link, by import path.
type graph map[string]goPackage

func (g graph) own() []goPackage {
	var own []goPackage
	for _, p := range g {
		if strings.HasPrefix(p.ImportPath, module) {
			own = append(own, p)
		}
	}
	return own
}

func listPackages(t *testing.T) graph {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	command.Dir = root(t)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := graph{}
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p goPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatalf("reading what go list says: %v", err)
		}
		packages[p.ImportPath] = p
	}
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("finding the module: %v", err)
	}
	return strings.TrimSpace(string(output))
}
