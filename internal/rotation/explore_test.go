package rotation

import (
	"flag"
	"fmt"
	"slices"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// exploreFull is what "make explore" sets.
var exploreFull = flag.Bool("explore.full", false, "explore every state of a re-key, rolled back and repeated, which takes minutes")

// limits bound the exploration. Within them it is complete: every order of every event.
type limits struct {
	requests, rollbacks uint8 // of a person
	losses, taints      uint8 // how many
	leftover            bool  // an instance was scaled away and its pod is still there
	stops               bool  // pods may end and start anew at any time
	hides               uint8 // what the operator may be unable to read for a while
	twoVolumes          bool  // the kubelet delivers files and annotation apart
	twoReloads          bool  // the process takes its leaf and its bundle apart
	rounds              int16 // until a world that is left alone is at rest
	states              int   // a search for a counter-example gives up after so many; 0: never
}

// smallLimits are those of every run of the tests.
var smallLimits = limits{requests: 1, leftover: true, twoReloads: true, rounds: 150}

// chapter is one complete exploration. All that can happen, in one, is too much; each of these goes together with a re-key,
// at any moment of it.
type chapter struct {
	name string
	limits
}

var chapters = []chapter{
	{"undone; pods end and start; an instance leaves", limits{requests: 1, rollbacks: 1, leftover: true, stops: true, rounds: 300}},
	{"twice, and one undone: three generations", limits{requests: 2, rollbacks: 1, rounds: 300}},
	{"files and annotation, leaf and bundle come apart", limits{requests: 1, leftover: true, twoReloads: true, twoVolumes: true, rounds: 300}},
	{"facts are hidden; pods end and start", limits{requests: 1, hides: hiddenConfig | hiddenMaterial | hiddenReport, stops: true, rounds: 300}},
	{"a Secret of an authority is deleted with its finalizer", limits{requests: 1, losses: 1, leftover: true, rounds: 300}},
	{"two of them, one after the other", limits{losses: 2, rounds: 300}},
	{"undone, and a Secret is deleted with its finalizer", limits{requests: 1, rollbacks: 1, losses: 1, rounds: 300}},
	{"any authority is tainted; an instance leaves", limits{requests: 1, taints: 1, leftover: true, rounds: 300}},
}

// tinyPlan is what a plan does to the tiny world.
type tinyPlan struct {
	steps   []plan.Step
	state   plan.State
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
}

// violation is a broken promise, the state in which it is broken, and the steps from there, if any, that break it.
type violation struct {
	what  string
	state int32
	last  move
}

func broken(what string, state int32) *violation {
	return &violation{what: what, state: state, last: move{event: events}}
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
		return broken(text, n)
	}
	return nil
}

// expand adds all that can come next. The operator may crash after any step, and may have looked before the last event.
func (x *exploration) expand(i int32) *violation {
	w := x.worlds[i]
	planned := x.planned(w)
	if planned.broken != "" {
		return broken(planned.broken, i)
	}
	if v := x.run(w, planned, i, move{event: events}); v != nil {
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
		if v := x.run(after, planned, i, move{event: e, stale: true}); v != nil {
			return v
		}
	}
	return nil
}

// run adds the worlds after each step of a plan.
func (x *exploration) run(w tinyWorld, planned *tinyPlan, parent int32, m move) *violation {
	for _, step := range planned.steps {
		failed, text := w.take(step, planned)
		if failed && text == "" {
			return nil
		}
		w = w.canonical()
		m.steps++
		if text != "" {
			return &violation{text, parent, m}
		}
		if v := x.add(w, parent, m); v != nil {
			return v
		}
	}
	return nil
}

// plan is the real Next, asked once for all worlds that look alike.
func (x *exploration) planned(w tinyWorld) *tinyPlan {
	seen := w.seen()
	planned := x.plans[seen]
	if planned == nil {
		planned = x.ask(w)
		x.plans[seen] = planned
	}
	return planned
}

func (x *exploration) ask(w tinyWorld) *tinyPlan {
	next, err := next(w.policy(), w.observe(), x.removed)
	if err != nil {
		return &tinyPlan{broken: err.Error()}
	}
	planned := &tinyPlan{steps: next.Steps, state: next.State, signer: next.Signer(facts.Server)}
	for g := 1; g <= 3; g++ {
		if slices.Contains(next.Anchors(facts.Server), premises(facts.Server, g).Fingerprint) {
			planned.anchors |= bit(g)
		}
		for i, fingerprint := range next.Chain(facts.Server, premises(facts.Server, g).KeyID) {
			planned.chains[g][i] = bridgeNamed(fingerprint)
		}
	}
	for _, step := range planned.steps {
		if step.Op == plan.SwitchSigner && step.Generation == int(w.tainted) {
			planned.broken = fmt.Sprintf("g%d is tainted and is to sign", step.Generation)
			return planned
		}
	}
	if x.removed != guardNone {
		return planned // what catches it must not be Check, which has guards of its own
	}
	for _, step := range planned.steps {
		if step.Op == plan.Activate && step.Revision == "" {
			step.Revision = w.pod(step.Pod).published.revision()
		}
		if v := invariant.Check(w.observe(), step); v != nil {
			planned.broken = "the operator refuses its own step " + step.String() + ": " + v.Error()
			return planned
		}
		if failed, _ := w.take(step, planned); failed {
			break // run tells
		}
		w = w.canonical()
	}
	return planned
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
			return broken("this goes round and round without an end", at)
		}
		for k := len(path) - 1; k >= 0; k-- {
			rounds[path[k]] = rounds[at] + 1
			at = path[k]
		}
		if rounds[i] > x.limits.rounds {
			return broken(fmt.Sprintf("it takes %d rounds from here to rest", rounds[i]), int32(i))
		}
	}
	return nil
}

// leftAlone returns the state after the next round; the same: this is rest.
func (x *exploration) leftAlone(at int32) (int32, *violation) {
	w := x.worlds[at]
	planned := x.planned(w)
	if len(planned.steps) > 0 {
		for _, step := range planned.steps {
			if failed, _ := w.take(step, planned); failed {
				break
			}
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
		if e >= hidesConfig && w.hidden&(hiddenConfig<<(e-hidesConfig)) == 0 {
			continue
		}
		after, can := w.happens(e, &x.limits)
		if can {
			after = after.canonical()
			if _, known := x.index[after]; !known {
				return at, broken("the exploration has not seen what comes next", at)
			}
			return x.index[after], nil
		}
	}
	if planned.state != plan.Steady || !w.atRest() {
		return at, broken(fmt.Sprintf("nothing more happens, and it is not at rest: the plan says %s", planned.state), at)
	}
	return at, nil
}
