package rotation

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"testing"

	"pgtls.dev/pgtls/internal/rotation/rekey"
)

// exploredGuards are those without which a client is refused, or a promise broken.
var exploredGuards = []string{
	guardSwitched, guardClientsTrust, guardMaterialTrusts, guardPodTrusts,
	guardReissued, guardSettled, guardLeftovers, guardSoaked,
	guardClientsForget, guardMaterialForget, guardPodForgets,
	guardTrusted, guardBridge, guardSecondBridge,
}

// deepGuards need a second re-key, or a roll-back, to matter.
var deepGuards = map[string]limits{
	guardClientsTrust:   {requests: 1, hides: hiddenConfig},
	guardClientsForget:  {requests: 1, hides: hiddenConfig},
	guardMaterialTrusts: {requests: 1, hides: hiddenMaterial, stops: true},
	guardMaterialForget: {requests: 1, hides: hiddenMaterial, stops: true},
	guardReissued:       {requests: 1, fails: true},
	guardTrusted:        {requests: 1, rollbacks: 1, rounds: 300},
	guardSecondBridge:   {requests: 2, rounds: 300},
}

// unexploredGuards are those of which no model can show what they are for.
var unexploredGuards = map[string]string{
	"the last re-key was not rolled back, unless a new one is asked for": "keeps the operator from trying in vain, and no client from being refused: sentences in rekey_test.go",
	"the other domain is not being re-keyed":                             "the model is the server domain: sentences in rekey_test.go",
	"the bridge back, where no older authority vouches":                  "leads a verifier that was given the new authority alone, which the model has not: stories",
	"no bundle and no pod is known to lack the old authority":            "matters only after the loss of an authority in the middle of a re-key: the chapter with both found it, and a sentence in rekey_test.go shows it",
	guardFollowers:      "is about time, which stands still in the model: sentences in rekey_test.go",
	guardLedger:         "is about client certificates of applications, and the model is the server domain: sentences in application_test.go",
	guardSessions:       "is about client certificates of users, and the model is the server domain: sentences in rekey_test.go",
	guardAnchorSessions: "is about client certificates of users, and the model is the server domain: sentences in foreign_test.go",
}

// TestEveryGuardIsExplored: every guard of the rules is left out in a model too, or a reason says why not.
func TestEveryGuardIsExplored(t *testing.T) {
	all := allGuards()
	for _, name := range all {
		explored := slices.Contains(exploredGuards, name) || slices.Contains(exploredAnchorGuards, name)
		if why := unexploredGuards[name]; explored == (why != "") {
			t.Errorf("%q is explored: %t; the reason why not: %q", name, explored, why)
		}
	}
	for _, name := range slices.Concat(exploredGuards, exploredAnchorGuards, sortedKeys(unexploredGuards)) {
		if !slices.Contains(all, name) {
			t.Errorf("no guard is called %q", name)
		}
	}
}

// allGuards are the names of all guards, verifiers and chain rules.
func allGuards() (names []string) {
	r := Standard()
	for _, guards := range [][]rekey.Guard{r.Rekey.Activation, r.Rekey.TrustNew, r.Rekey.SwitchSigner, r.Rekey.RollBack, r.Rekey.DropOld, r.Rekey.DiscardAuthority} {
		for _, g := range guards {
			names = append(names, g.Name)
		}
	}
	for _, c := range r.Rekey.Chain {
		names = append(names, c.Name)
	}
	for _, v := range r.External.Trust {
		names = append(names, externalGuard+v.Name)
	}
	for _, g := range r.External.Propagation {
		names = append(names, externalGuard+g.Name)
	}
	for _, g := range r.External.DropAnchor {
		names = append(names, externalGuard+g.Name)
	}
	return names
}

// tally is what "make explore" ends with.
type tally struct {
	violations, caught atomic.Int64
	states             map[uint64]struct{} // hashes, so that what two chapters see is counted once
	seed               maphash.Seed
}

// TestExplore goes through every state of the model, and then takes each guard away and must see a client refused.
func TestExplore(t *testing.T) {
	todo := []chapter{{"a re-key", smallLimits}}
	if *exploreFull {
		todo = chapters
	}
	result := &tally{states: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
	t.Cleanup(func() {
		if *exploreFull && len(result.states) < 5_000_000 {
			t.Errorf("%d states are too few to prove anything", len(result.states))
		}
		fmt.Printf("explore: states=%d violations=%d guards=%d caught=%d\n", len(result.states), result.violations.Load(), len(exploredGuards)+len(exploredAnchorGuards), result.caught.Load())
	})
	for _, c := range todo {
		t.Run("every client is accepted: "+c.name, func(t *testing.T) { result.explore(t, c.limits) })
	}
	t.Run("every client is accepted: external anchors", func(t *testing.T) { result.external(t) })
	for _, g := range exploredGuards {
		t.Run("without: "+g, func(t *testing.T) {
			t.Parallel()
			result.counterExample(t, g)
		})
	}
	for _, g := range exploredAnchorGuards {
		t.Run("without: "+g, func(t *testing.T) {
			t.Parallel()
			x, text := exploreExternal(anchorGuardsFrom[g], without(g), true)
			if text == "" {
				t.Fatalf("%d states, and no client is refused without this guard", len(x.worlds))
			}
			result.caught.Add(1)
			t.Logf("without %q, after %d states:\n%s", g, len(x.worlds), text)
		})
	}
}

// external explores the world of external anchors.
func (r *tally) external(t *testing.T) {
	first := extFirst(1, true)
	if *exploreFull {
		first = extFirst(2, true)
	}
	x, text := exploreExternal(first, Standard(), false)
	for _, w := range x.worlds {
		r.states[maphash.Comparable(r.seed, w)] = struct{}{}
	}
	t.Logf("%d states", len(x.worlds))
	if text != "" {
		r.violations.Add(1)
		t.Errorf("after %d states:\n%s", len(x.worlds), text)
	}
}

func (r *tally) explore(t *testing.T, l limits) {
	x, v := explore(l, Standard(), false)
	for _, w := range x.worlds {
		r.states[maphash.Comparable(r.seed, w)] = struct{}{}
	}
	t.Logf("%d states, %d plans", len(x.worlds), len(x.plans))
	if v != nil {
		r.violations.Add(1)
		t.Errorf("after %d states:\n%s", len(x.worlds), x.story(v))
	}
}

func (r *tally) counterExample(t *testing.T, g string) {
	l, deep := deepGuards[g]
	if !deep {
		l = smallLimits
	}
	x, v := explore(l, without(g), true)
	if v == nil {
		t.Fatalf("%d states and no client is refused without this guard", len(x.worlds))
	}
	r.caught.Add(1)
	t.Logf("without %q, after %d states:\n%s", g, len(x.worlds), x.story(v))
}
