package layers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rotationLayers are the packages of the decision from the bottom up: each imports packages of lower entries alone.
var rotationLayers = [][]string{
	{"reason"}, {"facts"}, {"plan"}, {"served", "window", "invariant"}, {"revocation"}, {"rekey"}, {"external"}, {"rollout"}, {""},
}

// invariantImports is all that the invariants share with the decision: a fault in a predicate of the decision must not deceive both.
var invariantImports = []string{"internal/pki", "internal/rotation/facts", "internal/rotation/plan", "internal/rotation/reason"}

func TestLayersOfTheDecision(t *testing.T) {
	found := 0
	for _, p := range listPackages(t).own() {
		if within(p.path(), []string{"internal/rotation"}) {
			found++
			for _, finding := range againstRotationLayers(p) {
				t.Error(finding)
			}
		}
	}
	if found < 10 {
		t.Errorf("go list shows only %d packages of the decision", found)
	}
}

func TestViolationsOfTheDecisionAreFound(t *testing.T) {
	for path, imported := range map[string]string{"internal/rotation/facts": "internal/rotation/plan", "internal/rotation/rekey": "internal/rotation/rollout",
		"internal/rotation/invariant": "internal/rotation/served", "internal/rotation/served": "internal/rotation/window", "internal/rotation/new": "internal/rotation/facts"} {
		if len(againstRotationLayers(goPackage{ImportPath: module + path, Imports: []string{module + imported}})) == 0 {
			t.Errorf("%s may import %s", path, imported)
		}
	}
}

func againstRotationLayers(p goPackage) (found []string) {
	layer := rotationLayer(p.path())
	if layer < 0 {
		return []string{p.path() + " has no layer: give it one in rotationLayers"}
	}
	for _, imported := range p.Imports {
		path, isOwn := strings.CutPrefix(imported, module)
		if !isOwn {
			continue
		}
		if below := rotationLayer(path); within(path, []string{"internal/rotation"}) && (below < 0 || below >= layer) {
			found = append(found, fmt.Sprintf("%s imports %s, which is no lower layer of the decision", p.path(), path))
		}
		if p.path() == "internal/rotation/invariant" && !slices.Contains(invariantImports, path) {
			found = append(found, fmt.Sprintf("the invariants import %s: they have predicates of their own", path))
		}
	}
	return found
}

func rotationLayer(path string) int {
	name := strings.TrimPrefix(strings.TrimPrefix(path, "internal/rotation"), "/")
	return slices.IndexFunc(rotationLayers, func(layer []string) bool { return slices.Contains(layer, name) })
}
