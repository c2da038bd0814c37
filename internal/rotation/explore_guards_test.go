package rotation

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"hash/maphash"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
)

// exploredGuards are those without which somebody is refused, or a promise broken.
var exploredGuards = []guard{
	guardSwitched, guardClientsTrust, guardMaterialTrusts, guardPodTrusts,
	guardReissued, guardSettled, guardLeftovers, guardSoaked,
	guardClientsForget, guardMaterialForget, guardPodForgets,
	guardTrusted, guardBridge, guardSecondBridge,
}

// deepGuards need a second re-key, or a roll-back, to matter.
var deepGuards = map[guard]limits{
	guardClientsTrust:   {requests: 1, hides: hiddenConfig},
	guardClientsForget:  {requests: 1, hides: hiddenConfig},
	guardMaterialTrusts: {requests: 1, hides: hiddenMaterial, stops: true},
	guardMaterialForget: {requests: 1, hides: hiddenMaterial, stops: true},
	guardTrusted:        {requests: 1, rollbacks: 1, rounds: 300},
	guardSecondBridge:   {requests: 2, rounds: 300},
}

// unexploredGuards are the guards of which the model cannot show what they are for, by their names in guard.go.
var unexploredGuards = map[string]string{
	"guardNone":      "stands for no guard",
	"guardFollowers": "is about time, which stands still in the model: sentences in rekey_test.go",
	"guardLedger":    "is about applications' client certificates, and the model is the server domain: sentences in application_test.go",
	"guardSessions":  "is about people's own client certificates, and the model is the server domain: sentences in rekey_test.go",

	"guardAnchorClients":   customs,
	"guardAnchorMaterial":  customs,
	"guardAnchorPod":       customs,
	"guardAnchorFollowed":  customs,
	"guardAnchorPublished": customs,
	"guardAnchorSettled":   customs,
	"guardAnchorSessions":  customs,
}

const customs = "is about certificates from elsewhere, which the model has not: sentences in foreign_test.go"

// TestEveryGuardIsExplored: a guard that is added to guard.go is taken away here too, or says why not.
func TestEveryGuardIsExplored(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "guard.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, isValue := n.(*ast.ValueSpec)
		if !isValue || len(spec.Values) != 1 {
			return true
		}
		name, text := spec.Names[0].Name, spec.Values[0].(*ast.BasicLit).Value
		found++
		explored := slices.ContainsFunc(exploredGuards, func(g guard) bool { return strconv.Quote(string(g)) == text })
		if why := unexploredGuards[name]; explored == (why != "") {
			t.Errorf("%s (%s) is explored: %t; the reason why not: %q", name, text, explored, why)
		}
		return true
	})
	if found < len(exploredGuards) {
		t.Errorf("%d guards were read from guard.go", found)
	}
}

// tally is what "make explore" ends with.
type tally struct {
	violations, caught atomic.Int64
	states             map[uint64]struct{} // hashes, so that what two chapters see is counted once
	seed               maphash.Seed
}

// TestExplore goes through every state of the model, and then takes each guard away and must see somebody refused.
func TestExplore(t *testing.T) {
	todo := []chapter{{"a re-key", smallLimits}}
	if *exploreFull {
		todo = chapters
	}
	result := &tally{states: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
	t.Cleanup(func() {
		if *exploreFull && len(result.states) < 1_000_000 {
			t.Errorf("%d states are too few to prove anything", len(result.states))
		}
		fmt.Printf("explore: states=%d violations=%d guards=%d caught=%d\n", len(result.states), result.violations.Load(), len(exploredGuards), result.caught.Load())
	})
	for _, c := range todo {
		t.Run("everybody is accepted: "+c.name, func(t *testing.T) { result.explore(t, c.limits) })
	}
	for _, g := range exploredGuards {
		t.Run("without: "+string(g), func(t *testing.T) {
			t.Parallel()
			result.counterExample(t, g)
		})
	}
}

func (r *tally) explore(t *testing.T, l limits) {
	x, v := explore(l, guardNone)
	for _, w := range x.worlds {
		r.states[maphash.Comparable(r.seed, w)] = struct{}{}
	}
	t.Logf("%d states, %d plans", len(x.worlds), len(x.plans))
	if v != nil {
		r.violations.Add(1)
		t.Errorf("after %d states:\n%s", len(x.worlds), x.story(v))
	}
}

func (r *tally) counterExample(t *testing.T, g guard) {
	l, deep := deepGuards[g]
	if !deep {
		l = smallLimits
	}
	x, v := explore(l, g)
	if v == nil {
		t.Fatalf("%d states and nobody is refused without this guard", len(x.worlds))
	}
	r.caught.Add(1)
	t.Logf("without %q, after %d states:\n%s", g, len(x.worlds), x.story(v))
}
