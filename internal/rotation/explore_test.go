package rotation

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// exploreFull is what "make explore" sets.
var exploreFull = flag.Bool("explore.full", false, "explore every state of a re-key, rolled back and repeated, which takes minutes")

// limits bound the exploration. Within them it is complete: every order of every event.
type limits struct {
	requests, rollbacks uint8 // of a person
	leftover            bool  // an instance was scaled away and its pod is still there
	stops               bool  // pods may end and start anew at any time
	hides               uint8 // what the operator may be unable to read for a while
	twoVolumes          bool  // the kubelet delivers files and annotation apart
	twoReloads          bool  // the process takes its leaf and its bundle apart
	rounds              int16 // until a world that is left alone is at rest
	states              int   // a search for a counter-example gives up after so many; 0: never
}

var (
	smallLimits = limits{requests: 1, rollbacks: 0, leftover: true, twoReloads: true, rounds: 150}
	fullLimits  = limits{requests: 2, rollbacks: 1, leftover: true, twoReloads: true, stops: true, hides: hiddenConfig | hiddenMaterial, rounds: 300}
)

// tinyPlan is what a plan does to the tiny world.
type tinyPlan struct {
	steps   []Step
	state   State
	signer  int
	anchors uint8
	chains  [4][2]bridgeID
	broken  string // the invariant that a step would break
}

// move is how a state was reached: an event, then the first steps of a plan.
type move struct {
	event event // events: none
	steps uint8
	stale bool // the plan was made before the event
}

// exploration is a search through all states, breadth first: the first trace to a violation is the shortest.
type exploration struct {
	limits  limits
	removed guard
	plans   map[tinyWorld]*tinyPlan
	index   map[tinyWorld]int32
	worlds  []tinyWorld
	parents []int32
	moves   []move
	left    []int32 // what comes next when nobody asks for anything more
}

// violation is a broken promise and the state in which it is broken.
type violation struct {
	what  string
	state int32
}

func explore(l limits, removed guard) (*exploration, *violation) {
	x := &exploration{limits: l, removed: removed, plans: map[tinyWorld]*tinyPlan{}, index: map[tinyWorld]int32{}}
	if v := x.add(firstWorld(l), -1, move{event: events}); v != nil {
		return x, v
	}
	for i := int32(0); int(i) < len(x.worlds); i++ {
		if l.states > 0 && len(x.worlds) > l.states {
			return x, nil
		}
		if v := x.expand(i); v != nil {
			return x, v
		}
	}
	return x, x.comesToRest()
}

// add notes a state unless it is known, and tells what is broken in it.
func (x *exploration) add(w tinyWorld, parent int32, m move) *violation {
	w = w.canonical()
	if _, known := x.index[w]; known {
		return nil
	}
	n := int32(len(x.worlds))
	x.index[w] = n
	x.worlds, x.parents, x.moves = append(x.worlds, w), append(x.parents, parent), append(x.moves, m)
	if text := w.refused(); text != "" {
		return &violation{text, n}
	}
	return nil
}

// expand adds all that can come next. The operator may crash after any step, and may have looked before the last event.
func (x *exploration) expand(i int32) *violation {
	w := x.worlds[i]
	plan := x.plan(w)
	if plan.broken != "" {
		return &violation{plan.broken, i}
	}
	if v := x.run(w, plan, i, move{event: events}); v != nil {
		return v
	}
	for e := range events {
		after, can := w.happens(e, &x.limits)
		if !can {
			continue
		}
		if v := x.add(after, i, move{event: e}); v != nil {
			return v
		}
		if v := x.run(after, plan, i, move{event: e, stale: true}); v != nil {
			return v
		}
	}
	return nil
}

// run adds the worlds after each step of a plan.
func (x *exploration) run(w tinyWorld, plan *tinyPlan, parent int32, m move) *violation {
	for _, step := range plan.steps {
		broken := w.take(step, plan)
		w = w.canonical()
		m.steps++
		if v := x.add(w, parent, m); v != nil {
			return v
		}
		if broken != "" {
			return &violation{broken, x.index[w]}
		}
	}
	return nil
}

// plan is the real Next, asked once for all worlds that look alike.
func (x *exploration) plan(w tinyWorld) *tinyPlan {
	seen := w.seen()
	plan := x.plans[seen]
	if plan == nil {
		plan = x.ask(w)
		x.plans[seen] = plan
	}
	return plan
}

func (x *exploration) ask(w tinyWorld) *tinyPlan {
	next, err := next(w.policy(), w.observe(), x.removed)
	if err != nil {
		return &tinyPlan{broken: err.Error()}
	}
	plan := &tinyPlan{steps: next.Steps, state: next.State, signer: next.Signer(Server)}
	for g := 1; g <= 3; g++ {
		if slices.Contains(next.Anchors(Server), facts(Server, g).Fingerprint) {
			plan.anchors |= bit(g)
		}
		for i, fingerprint := range next.Chain(Server, facts(Server, g).KeyID) {
			plan.chains[g][i] = bridgeNamed(fingerprint)
		}
	}
	if x.removed != guardNone {
		return plan // what catches it must not be Check, which has guards of its own
	}
	for _, step := range plan.steps {
		if step.Op == Activate && step.Revision == "" {
			step.Revision = w.pod(step.Pod).published.revision()
		}
		if v := Check(w.observe(), step); v != nil {
			plan.broken = "the operator refuses its own step " + step.String() + ": " + v.Error()
			return plan
		}
		if w.take(step, plan) != "" {
			break // run tells
		}
		w = w.canonical()
	}
	return plan
}

// comesToRest checks that every state leads to rest when nobody asks for anything more and everybody does their part: the
// operator all that he can, then the others one thing each.
func (x *exploration) comesToRest() *violation {
	rounds := make([]int16, len(x.worlds)) // until rest; 0: not known yet
	for i := range x.worlds {
		var path []int32
		at := int32(i)
		for rounds[at] == 0 {
			path = append(path, at)
			rounds[at] = -1 // on the path
			next, violation := x.leftAlone(at)
			if violation != nil {
				return violation
			}
			if next == at {
				rounds[at] = 1
				path = path[:len(path)-1]
				break
			}
			at = next
		}
		if rounds[at] < 0 {
			return &violation{"this goes round and round without an end", at}
		}
		for k := len(path) - 1; k >= 0; k-- {
			rounds[path[k]] = rounds[at] + 1
			at = path[k]
		}
		if rounds[i] > x.limits.rounds {
			return &violation{fmt.Sprintf("it takes %d rounds from here to rest", rounds[i]), int32(i)}
		}
	}
	return nil
}

// leftAlone returns the state after the next round; the same: this is rest.
func (x *exploration) leftAlone(at int32) (int32, *violation) {
	w := x.worlds[at]
	plan := x.plan(w)
	if len(plan.steps) > 0 {
		for _, step := range plan.steps {
			w.take(step, plan)
			w = w.canonical()
		}
		return x.index[w], nil
	}
	for e := range asksForRekey {
		if e < 2*podEvents {
			p := &w.pods[e/podEvents]
			good := p.provenAt == 0 || p.provenAt == p.published && p.proven == p.published.leaf()
			if e%podEvents == stops && p.active != 0 || e%podEvents == forgets && good {
				continue // a look that showed something else is repeated
			}
		}
		if e == hidesConfig && w.hidden&hiddenConfig == 0 || e == hidesMaterial && w.hidden&hiddenMaterial == 0 {
			continue
		}
		after, can := w.happens(e, &x.limits)
		if can {
			after = after.canonical()
			if _, known := x.index[after]; !known {
				return at, &violation{"the exploration has not seen what comes next", at}
			}
			return x.index[after], nil
		}
	}
	if plan.state != Steady || !w.atRest() {
		return at, &violation{fmt.Sprintf("nothing more happens, and it is not at rest: the plan says %s", plan.state), at}
	}
	return at, nil
}

// story tells the shortest way to a state.
func (x *exploration) story(v *violation) string {
	var path []int32
	for at := v.state; at >= 0; at = x.parents[at] {
		path = append(path, at)
	}
	slices.Reverse(path)
	var b strings.Builder
	for n, at := range path[1:] {
		from, m := x.worlds[path[n]], x.moves[at]
		plan := x.plan(from)
		if m.event < events {
			fmt.Fprintf(&b, "%3d. %s\n", n+1, m.event)
		}
		for k := range int(m.steps) {
			note := ""
			if m.stale {
				note = ", decided before that"
			}
			fmt.Fprintf(&b, "%3d. the operator: %s%s\n", n+1, plan.steps[k], note)
		}
	}
	fmt.Fprintf(&b, "     %s\n%s", v.what, x.worlds[v.state].describe())
	return b.String()
}

func (w *tinyWorld) describe() string {
	var b strings.Builder
	for i := range w.authorities {
		if a := &w.authorities[i]; a.made {
			fmt.Fprintf(&b, "     g%d: %+v\n", i+1, *a)
		}
	}
	fmt.Fprintf(&b, "     operator %s, ConfigMap %s, its reader %s, leftover %t\n", generations(w.operator), generations(w.config), generations(w.follower), w.leftover)
	for i := range w.pods {
		p := &w.pods[i]
		fmt.Fprintf(&b, "     %s: published %s; mounted %s; active %s; serves %s; trusts %s\n",
			tinyPodNames[i], p.published, p.mounted, p.active, p.serves, generations(uint8(p.trusts)))
	}
	return b.String()
}

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

// TestExplore goes through every state of the model, and then takes each guard away and must see somebody refused.
func TestExplore(t *testing.T) {
	l := smallLimits
	if *exploreFull {
		l = fullLimits
	}
	var states, violations, caught atomic.Int64
	var told sync.WaitGroup
	told.Add(1 + len(exploredGuards))
	t.Run("everybody is accepted", func(t *testing.T) {
		t.Parallel()
		defer told.Done()
		x, v := explore(l, guardNone)
		states.Store(int64(len(x.worlds)))
		t.Logf("%d states, %d plans", len(x.worlds), len(x.plans))
		if v != nil {
			violations.Add(1)
			t.Errorf("after %d states:\n%s", len(x.worlds), x.story(v))
		}
	})
	for _, g := range exploredGuards {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			defer told.Done()
			limits, deep := deepGuards[g]
			if !deep {
				limits = smallLimits
			}
			x, v := explore(limits, g)
			if v == nil {
				t.Fatalf("%d states and nobody is refused without this guard", len(x.worlds))
			}
			caught.Add(1)
			t.Logf("without it, after %d states:\n%s", len(x.worlds), x.story(v))
		})
	}
	t.Cleanup(func() {
		fmt.Printf("explore: states=%d violations=%d guards=%d caught=%d\n", states.Load(), violations.Load(), len(exploredGuards), caught.Load())
	})
}
