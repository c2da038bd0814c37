package layers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layers from the bottom up. A package imports packages of lower layers, or
// those of its own entry (a package and those beneath it); never a neighbour.
var layers = [][]string{
	{"api/v1beta1", "internal/pki", "internal/agentapi"},
	{"internal/party"},
	{"internal/rotation", "internal/custom", "internal/schedule"},
	{"internal/postgres", "internal/patroni", "internal/pgbouncer", "internal/probe"},
	{"internal/delivery", "internal/metrics", "internal/certmanager"},
	{"internal/desired"},
	{"internal/controller/cluster", "internal/controller/tls", "internal/agent", "internal/cli"},
	{"cmd"},
}

// outside the product: these import what they need, and nothing imports them.
var outside = []string{"test", "hack"}

// rule says what packages must not link, directly or through others.
type rule struct {
	packages []string
	only     []string // unless empty: nothing from outside the standard library but these
	never    []string
	except   []string // of never
	because  string
}

var rules = []rule{
	{packages: []string{"internal/pki"}, only: []string{"internal/pki"},
		because: "certificates are computed with the standard library alone"},
	{packages: []string{"internal/party"}, only: []string{"internal/party", "internal/agentapi", "internal/pki"},
		because: "what a kind of party is, is data that the decision and the agent read too"},
	{packages: []string{"internal/rotation"}, only: []string{"internal/rotation", "internal/party", "internal/agentapi", "internal/pki"},
		because: "the decision is pure, so that tests can explore it"},
	{packages: []string{"internal/custom"}, only: []string{"internal/custom", "internal/pki"},
		because: "what a user's Secret is worth is computed, so that a corpus can prove it"},
	{packages: []string{"internal/controller/tls/evidence"}, never: []string{"sigs.k8s.io/controller-runtime", "k8s.io/client-go", "k8s.io/api"},
		because: "pods are looked at without an API server"},
	{packages: []string{"internal/controller/tls/gather"}, never: []string{"internal/controller/tls/act", "internal/controller/tls/report", "internal/controller/tls/request"},
		because: "reading, deciding, acting and reporting are apart"},
	{packages: []string{"internal/controller/tls/act"}, never: []string{"internal/controller/tls/gather", "internal/controller/tls/report", "internal/controller/tls/request"},
		because: "reading, deciding, acting and reporting are apart"},
	{packages: []string{"internal/controller/tls/report"}, never: []string{"internal/controller/tls/gather", "internal/controller/tls/act", "internal/controller/tls/request"},
		because: "reading, deciding, acting and reporting are apart"},
	{packages: []string{"internal/controller/tls/request"}, never: []string{"internal/controller/tls/gather", "internal/controller/tls/act", "internal/controller/tls/report"},
		because: "reading, deciding, acting and reporting are apart"},
	{packages: []string{"internal/schedule"}, only: []string{"internal/schedule", "github.com/robfig/cron"},
		because: "when a window opens is computed, with one library that reads cron fields"},
	{packages: []string{"cmd/agent", "internal/agent", "internal/agentapi"}, never: kubernetes,
		because: "the agent runs beside PostgreSQL, small and without access to the API server"},
	{packages: []string{"internal/postgres", "internal/patroni", "internal/pgbouncer", "internal/probe"}, never: kubernetes, except: []string{"sigs.k8s.io/yaml"},
		because: "one technology each"},
	{packages: []string{"api"}, never: []string{"internal"},
		because: "users import the contract without the code behind it"},
	{packages: []string{"api", "internal", "cmd"}, never: slices.Concat([]string{"sigs.k8s.io/controller-runtime/pkg/envtest", "std/testing"}, outside, testSupport),
		because: "the product links nothing made for tests"},
}

var kubernetes = []string{"k8s.io", "sigs.k8s.io"}

// testSupport is called from tests only, although it is no test itself.
var testSupport = []string{
	"internal/pki/pkitest", "internal/postgres/pgtest", "internal/controller/cluster/clustertest", "internal/controller/tls/evidence/agenttest",
	"internal/controller/tls/tlstest", "internal/controller/tls/snapshottest",
}

func TestLayers(t *testing.T) {
	packages := listPackages(t)
	if len(packages.own()) < 10 {
		t.Fatalf("go list shows only %d packages of this module", len(packages.own()))
	}
	for _, finding := range violations(packages) {
		t.Error(finding)
	}
}

// TestViolationsAreFound breaks each kind of rule once.
func TestViolationsAreFound(t *testing.T) {
	packages := graph{}
	add := func(path string, standard bool, imports, deps []string) {
		packages[path] = goPackage{ImportPath: path, Standard: standard, Imports: imports, Deps: append(deps, imports...)}
	}
	add("os", true, nil, nil)
	add("k8s.io/api/core/v1", false, nil, nil)
	add("example.org/wrapper", false, []string{"k8s.io/api/core/v1"}, nil)
	add(module+"api/v1beta1", false, nil, nil)
	add(module+"internal/pki", false, []string{"os"}, nil)
	add(module+"internal/rotation", false, []string{"example.org/wrapper"}, []string{"k8s.io/api/core/v1"})
	add(module+"internal/agent", false, []string{"example.org/wrapper"}, []string{"k8s.io/api/core/v1"})
	add(module+"internal/probe", false, []string{module + "internal/desired"}, nil)
	add(module+"internal/desired", false, []string{module + "api/v1beta1"}, nil)
	add(module+"internal/controller/cluster", false, nil, nil)
	add(module+"internal/controller/cluster/part", false, []string{module + "internal/controller/cluster"}, nil)
	add(module+"internal/controller/tls", false, []string{module + "internal/controller/cluster"}, nil)
	add(module+"internal/util", false, nil, nil)
	add(module+"cmd/operator", false, []string{module + "test/harness"}, nil)
	add(module+"test/harness", false, []string{module + "internal/desired", module + "internal/pki/pkitest"}, nil)
	add(module+"internal/pki/pkitest", false, nil, nil)
	add(module+"internal/patroni", false, []string{module + "internal/pki/pkitest"}, nil)

	want := []string{
		"cmd/operator imports test/harness, which is outside the product",
		"cmd/operator links test/harness: the product links nothing made for tests",
		"internal/agent links k8s.io/api/core/v1: the agent runs beside PostgreSQL, small and without access to the API server",
		"internal/controller/tls imports internal/controller/cluster, which is no lower layer",
		"internal/patroni links internal/pki/pkitest: the product links nothing made for tests",
		"internal/probe imports internal/desired, which is no lower layer",
		"internal/rotation links example.org/wrapper: the decision is pure, so that tests can explore it",
		"internal/rotation links k8s.io/api/core/v1: the decision is pure, so that tests can explore it",
		"internal/util has no layer: give it one in test/layers",
	}
	if diff := cmp.Diff(want, violations(packages)); diff != "" {
		t.Errorf("found (+) and not what was broken (-):\n%s", diff)
	}
}

// violations of layers and rules, one line each, sorted.
func violations(packages graph) []string {
	var found []string
	for _, p := range packages.own() {
		if within(p.path(), outside) || within(p.path(), testSupport) {
			continue
		}
		found = append(found, againstLayers(p)...)
		found = append(found, againstRules(packages, p)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func againstLayers(p goPackage) []string {
	layer, entry := layerOf(p.path())
	if layer < 0 {
		return []string{p.path() + " has no layer: give it one in test/layers"}
	}
	var found []string
	for _, imported := range p.Imports {
		path, isOwn := strings.CutPrefix(imported, module)
		if !isOwn {
			continue
		}
		below, belowEntry := layerOf(path)
		switch {
		case within(path, outside):
			found = append(found, fmt.Sprintf("%s imports %s, which is outside the product", p.path(), path))
		case below >= layer && belowEntry != entry:
			found = append(found, fmt.Sprintf("%s imports %s, which is no lower layer", p.path(), path))
		}
	}
	return found
}

// layerOf returns the index of the layer and its entry that holds the package, or -1.
func layerOf(path string) (int, string) {
	for i, layer := range layers {
		for _, entry := range layer {
			if within(path, []string{entry}) {
				return i, entry
			}
		}
	}
	return -1, ""
}

func againstRules(packages graph, p goPackage) []string {
	var found []string
	for _, r := range rules {
		if !within(p.path(), r.packages) {
			continue
		}
		for _, linked := range p.Deps {
			if dependency := packages[linked]; r.forbids(dependency) {
				found = append(found, fmt.Sprintf("%s links %s: %s", p.path(), dependency.path(), r.because))
			}
		}
	}
	return found
}

func (r rule) forbids(dependency goPackage) bool {
	if within(dependency.path(), r.never) && !within(dependency.path(), r.except) {
		return true
	}
	return len(r.only) > 0 && !dependency.Standard && !within(dependency.path(), r.only)
}

// within tells whether path is one of the trees, or lies in one.
func within(path string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}
