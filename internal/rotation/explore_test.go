package rotation

import (
	"flag"
	"fmt"
	"slices"

	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
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
	looks               uint8 // of a second operator
	fails               bool  // a kind of step begins to fail for good
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
	{"both Secrets of an authority are deleted, and of the next one", limits{losses: 2, rounds: 300}},
	{"both Secrets of an authority are deleted amid a re-key; an instance leaves", limits{requests: 1, losses: 1, leftover: true, rounds: 300}},
	{"both Secrets of an authority are deleted, and its replacement is undone", limits{rollbacks: 1, losses: 1, rounds: 300}},
	{"any authority is tainted; an instance leaves", limits{requests: 1, taints: 1, leftover: true, rounds: 300}},
	{"two operators, of which one is late; undone", limits{requests: 1, rollbacks: 1, leftover: true, looks: 2, rounds: 300}},
	{"a step fails for good; undone; an instance leaves", limits{requests: 1, rollbacks: 1, leftover: true, fails: true, rounds: 300}},
	{"a step fails for good; both Secrets of an authority are deleted", limits{losses: 1, leftover: true, fails: true, rounds: 300}},
}

// tinyPlan is what a plan does to the tiny world.
type tinyPlan struct {
	steps  []tinyStep
	state  plan.State
	held   uint16 // number of the whole plan, as the second operator may hold it
	told   bool   // it waits for a step that failed
	broken string // the invariant that a step would break
}

// move is how a state was reached: an event, then the first steps of a plan.
type move struct {
	event  event // events: none
	steps  uint8
	stale  bool  // the plan was made before the event
	second uint8 // 1: the second operator looks, 2: it takes a step, 3: it ends
}

// exploration is a search through all states, breadth first: the first trace to a violation is the shortest.
type exploration struct {
	limits  limits
	rules   Rules
	judged  bool // steps are not checked by the invariants: what catches a fault is the judge alone
	plans   map[tinyWorld]*tinyPlan
	rests   [][]tinyStep      // of plans of the second operator, by number
	numbers map[string]uint16 // of each
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

func explore(l limits, rules Rules, judged bool) (*exploration, *violation) {
	x := &exploration{limits: l, rules: rules, judged: judged, plans: map[tinyWorld]*tinyPlan{}, index: map[tinyWorld]int32{}, rests: [][]tinyStep{nil}, numbers: map[string]uint16{"": 0}}
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
	w = x.forgotten(w.canonical())
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
	if v := x.second(w, planned, i); v != nil {
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

// run adds the worlds after each step of a plan. A step that fails ends its lane alone.
func (x *exploration) run(w tinyWorld, planned *tinyPlan, parent int32, m move) *violation {
	for k := 0; k < len(planned.steps); k++ {
		goesOn, text := w.execute(&planned.steps[k])
		w = w.canonical()
		m.steps = uint8(k + 1)
		if text != "" {
			return &violation{text, parent, m}
		}
		if v := x.add(w, parent, m); v != nil {
			return v
		}
		for lane := planned.steps[k].lane; !goesOn && k+1 < len(planned.steps) && planned.steps[k+1].lane == lane; {
			k++
		}
	}
	return nil
}

// second has another operator look, and take the next step of the plan that it made when it looked. A step on an object that has
// changed since then fails, and with it the rest of its lane.
func (x *exploration) second(w tinyWorld, planned *tinyPlan, i int32) *violation {
	if w.looks > 0 && planned.held != 0 {
		after := w
		after.looks--
		after.second = tinySecond{held: planned.held}
		for k := range planned.steps {
			if s := &planned.steps[k]; s.op == tinyActivate {
				after.second.asks[s.which] = s.revision
			}
		}
		if v := x.add(after, i, move{event: events, second: 1}); v != nil {
			return v
		}
	}
	if w.second.held == 0 {
		return nil
	}
	dead := w
	dead.second = tinySecond{}
	if v := x.add(dead, i, move{event: events, second: 3}); v != nil {
		return v
	}
	rest := x.rests[w.second.held]
	step := &rest[0]
	after, text, left := w, "", rest[1:]
	o := w.observe()
	if invariant.Check(&o, step.typed(&w)) == nil { // it asks the invariants before every write, about what it reads then
		_, text = after.take(step)
		after.second.stale = w.second.stale &^ uint16(step.on()) // it knows what it has written
	} else {
		for len(left) > 0 && left[0].lane == step.lane {
			left = left[1:]
		}
	}
	after.second.held = x.number(left)
	m := move{event: events, second: 2}
	if text != "" {
		return &violation{text, i, m}
	}
	return x.add(after, i, m)
}

// forgotten drops what the second operator holds and can never do: worlds that differ in nothing else are one.
func (x *exploration) forgotten(w tinyWorld) tinyWorld {
	if w.second.held == 0 {
		w.second = tinySecond{}
		return w
	}
	var left []tinyStep
	rest := x.rests[w.second.held]
	needs := object(0)
	for k := 0; k < len(rest); k++ {
		s := &rest[k]
		impossible := s.op == tinyProve || object(w.second.stale)&s.on() != 0
		if !impossible {
			left = append(left, *s)
			needs |= s.on()
			continue
		}
		for s.op != tinyProve && k+1 < len(rest) && rest[k+1].lane == s.lane {
			k++
		}
	}
	w.second.held = x.number(left)
	w.second.stale &= uint16(needs)
	for i := range w.second.asks {
		if needs&(objectPod<<i) == 0 {
			w.second.asks[i] = 0
		}
	}
	return w
}

// number names the rest of a plan.
func (x *exploration) number(rest []tinyStep) uint16 {
	if len(rest) == 0 {
		return 0
	}
	if len(rest) > 0 {
		rest = slices.Clone(rest)
		first := rest[0].lane
		for k := range rest { // two plans are one when their lanes are
			rest[k].lane -= first
			rest[k].revision = 0 // which tinySecond has
		}
	}
	key := fmt.Sprint(rest)
	n, known := x.numbers[key]
	if !known {
		n = uint16(len(x.rests))
		if int(n) != len(x.rests) {
			panic("more plans than numbers")
		}
		x.numbers[key] = n
		x.rests = append(x.rests, rest)
	}
	return n
}

// planned is the real decision, asked once for all worlds that look alike.
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
	next, err := x.rules.Next(w.policy(), w.observe())
	if err != nil {
		return &tinyPlan{broken: err.Error()}
	}
	planned := &tinyPlan{steps: compile(&next), state: next.State, told: namesFailures(&next)}
	if x.limits.looks > 0 {
		planned.held = x.number(planned.steps)
	}
	if s, switches := next.Transition.(plan.SwitchSigner); switches && s.Generation == int(w.tainted) {
		planned.broken = fmt.Sprintf("g%d is tainted and is to be active", s.Generation)
		return planned
	}
	if !x.judged {
		planned.broken = allowsAll(w, &next)
	}
	return planned
}

// namesFailures reports whether a plan waits for a step that failed.
func namesFailures(next *plan.Plan) bool {
	return slices.ContainsFunc(next.Blockers, func(b plan.Blocker) bool { return b.Reason == reason.StepFailed })
}

// allowsAll says which invariant a step of a plan would break, taken one after the other.
func allowsAll(w tinyWorld, next *plan.Plan) string {
	w.second = tinySecond{}
	for _, step := range next.Steps() {
		if activate, is := step.(plan.Activate); is && activate.Revision == "" {
			activate.Revision = w.pods[tinyPodNamed(activate.Pod)].published.revision()
			step = activate
		}
		o := w.observe()
		if v := invariant.Check(&o, step); v != nil {
			return "the operator refuses its own step " + step.String() + ": " + v.Error()
		}
		t := compileStep(step)
		if failed, _ := w.take(&t); failed {
			break // run says so
		}
		w = w.canonical()
	}
	return ""
}

// comesToRest checks that every state leads to rest when no request comes any more and every process does its part: the
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
	if w.second.held != 0 {
		w.second = tinySecond{}
		return x.index[w], nil
	}
	planned := x.planned(w)
	if len(planned.steps) > 0 {
		for k := 0; k < len(planned.steps); k++ {
			goesOn, _ := w.execute(&planned.steps[k])
			w = w.canonical()
			for lane := planned.steps[k].lane; !goesOn && k+1 < len(planned.steps) && planned.steps[k+1].lane == lane; {
				k++
			}
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
	switch {
	case planned.told: // a step that is still wanted failed
		if text := w.restOfWhatFails(); text != "" || planned.state != plan.Waiting {
			return at, broken(fmt.Sprintf("nothing more happens, and the plan says %s; %s", planned.state, text), at)
		}
	case planned.state != plan.Steady || !w.atRest():
		return at, broken(fmt.Sprintf("nothing more happens, and it is not at rest: the plan says %s", planned.state), at)
	}
	return at, nil
}
