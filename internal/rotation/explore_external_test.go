package rotation

import (
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// exploredAnchorGuards are those that the model of external anchors shows.
var exploredAnchorGuards = []string{guardAnchorClients, guardAnchorMaterial, guardAnchorPod, guardAnchorFollowed, guardAnchorPublished, guardAnchorSettled}

// anchorGuardsFrom are the worlds in which each of them is left out.
var anchorGuardsFrom = map[string]extWorld{
	guardAnchorClients: extFirst(1, true), guardAnchorMaterial: extFirst(1, true), guardAnchorPod: extFirst(1, false), guardAnchorFollowed: extFirst(1, false),
	guardAnchorPublished: extPresenting(1, true), guardAnchorSettled: extPresenting(1, false),
}

// extEvent is something that happens without the operator.
type extEvent int

// Six of each pod, then those of the whole world.
const (
	extPodEvents          = 6
	extReads     extEvent = 2*extPodEvents + iota - 1
	extDelayPasses
	extSoakPasses
	extOutside // what does not happen any more in a world that is left alone begins here
)

const extEvents = extOutside + 3 + extEvent(len(extFailingKeys)) - 1

func (e extEvent) String() string {
	if e < 2*extPodEvents {
		return extPods[e/extPodEvents] + ": " + [...]string{"the kubelet delivers", "the agent installs", "the process reloads its certificate", "the process reloads its bundle", "the pod is replaced", "the operator looks again"}[e%extPodEvents]
	}
	switch {
	case e == extReads:
		return "the client that follows the ConfigMap reads it"
	case e == extDelayPasses:
		return "the trust propagation delay passes"
	case e == extSoakPasses:
		return "the soak passes"
	case e < extOutside+3:
		return "the spec wants " + [...]string{"own leaves", "a certificate of acme", "a certificate of bank"}[e-extOutside]
	}
	return "from now on this fails: " + extFailingKeys[e-extOutside-2]
}

func (w extWorld) happens(e extEvent) (extWorld, bool) {
	was := w
	if e < 2*extPodEvents {
		w.pods[e/extPodEvents].happens(e % extPodEvents)
		return w, w != was
	}
	switch {
	case e == extReads:
		w.follower = w.config
	case e == extDelayPasses:
		w.follower, w.fresh = w.config, false
		for i := range w.record {
			w.record[i].followed = w.record[i].admitted
		}
	case e == extSoakPasses:
		for i := range w.record {
			if w.record[i].unused == 1 {
				w.record[i].unused = 2
			}
		}
	case e < extOutside+3 && w.changes > 0 && w.wanted != uint8(e-extOutside):
		w.changes--
		w.wanted = uint8(e - extOutside)
	case e >= extOutside+3 && w.breaks:
		w.breaks, w.fails = false, extFailing(e-extOutside-2)
	}
	return w, w != was
}

func (p *extPod) happens(e extEvent) {
	switch e {
	case 0:
		p.mounted = p.published
	case 1:
		if leads := p.mounted.issuer() == 0 || p.mounted.anchors()&extBit(p.mounted.issuer()) != 0; p.asked == p.mounted && leads {
			p.active = p.mounted
		}
	case 2:
		p.serves = p.active.issuer()
	case 3:
		p.trusts = p.active.anchors()
	case 5:
		if p.provenAt == p.active && p.proven != p.serves {
			p.provenAt, p.proven = 0, 0
		}
	case 4:
		*p = extPod{published: p.published, mounted: p.published, active: p.published, serves: p.published.issuer(), trusts: p.published.anchors()}
	}
}

type extExploration struct {
	rules   Rules
	judged  bool
	plans   map[extWorld]*extPlan
	index   map[extWorld]int32
	worlds  []extWorld
	parents []int32
	moves   []string
}

// exploreExternal goes through every state that is reached from rest, and returns the first violation, "" when there is none.
func exploreExternal(first extWorld, rules Rules, judged bool) (*extExploration, string) {
	x := &extExploration{rules: rules, judged: judged, plans: map[extWorld]*extPlan{}, index: map[extWorld]int32{}}
	if text := x.add(first, -1, "everything is at rest"); text != "" {
		return x, text
	}
	for i := int32(0); int(i) < len(x.worlds); i++ {
		if text := x.expand(i); text != "" {
			return x, text
		}
	}
	if judged {
		return x, ""
	}
	return x, x.comesToRest()
}

func (x *extExploration) add(w extWorld, parent int32, move string) string {
	if _, known := x.index[w]; known {
		return ""
	}
	n := int32(len(x.worlds))
	x.index[w] = n
	x.worlds, x.parents, x.moves = append(x.worlds, w), append(x.parents, parent), append(x.moves, move)
	if text := w.refused(); text != "" {
		return x.story(n, text)
	}
	return ""
}

func (x *extExploration) expand(i int32) string {
	w := x.worlds[i]
	planned := x.plan(w)
	if planned.broken != "" {
		return x.story(i, planned.broken)
	}
	if text := x.run(w, planned.steps, i, ""); text != "" {
		return text
	}
	for e := range extEvents {
		after, can := w.happens(e)
		if !can {
			continue
		}
		if text := x.add(after, i, e.String()); text != "" {
			return text
		}
		if text := x.run(after, planned.steps, i, e.String()+"; decided before that: "); text != "" {
			return text
		}
	}
	return ""
}

// run adds the worlds after each step of a plan.
func (x *extExploration) run(w extWorld, steps []extStep, parent int32, note string) string {
	for k := 0; k < len(steps); k++ {
		goesOn := w.take(&steps[k])
		note += steps[k].step.String() + "; "
		if text := x.add(w, parent, note); text != "" {
			return text
		}
		for lane := steps[k].lane; !goesOn && k+1 < len(steps) && steps[k+1].lane == lane; {
			k++
		}
	}
	return ""
}

// extPlan is a plan as data, or what is wrong with it.
type extPlan struct {
	steps  []extStep
	state  plan.State
	waits  bool // for a step that failed
	broken string
}

// plan is the real decision, asked once for all worlds that look alike.
func (x *extExploration) plan(w extWorld) *extPlan {
	seen := w.seen()
	if known := x.plans[seen]; known != nil {
		return known
	}
	next, err := x.rules.Next(w.policy(), w.observe())
	p := &extPlan{state: next.State, waits: namesFailures(&next)}
	if p.steps, p.broken = x.compile(w, &next); err != nil {
		p.broken = err.Error()
	}
	x.plans[seen] = p
	return p
}

// compile reads the steps of a plan, and asks the invariants about each.
func (x *extExploration) compile(w extWorld, planned *plan.Plan) (steps []extStep, broken string) {
	w.fails = 0
	for lane := range planned.Lanes {
		for _, s := range planned.Lanes[lane].Steps {
			steps = append(steps, newExtStep(s, lane, w.wanted))
		}
	}
	if planned.Transition != nil {
		steps = append(steps, newExtStep(planned.Transition, len(planned.Lanes), w.wanted))
	}
	for k := 0; k < len(steps) && !x.judged; k++ {
		s := steps[k].step
		if activate, is := s.(plan.Activate); is && activate.Revision == "" {
			activate.Revision = w.pods[steps[k].which].published.revision()
			s = activate
		}
		o := w.observe()
		if v := invariant.Check(&o, s); v != nil {
			return nil, "the operator refuses its own step " + s.String() + ": " + v.Error()
		}
		w.take(&steps[k])
	}
	return steps, ""
}

func newExtStep(s plan.Step, lane int, wanted uint8) extStep {
	t := extStep{step: s, lane: lane, which: 2, adopts: wanted}
	if i := slices.Index(extPods[:], podOf(s)); i >= 0 {
		t.which = i
	} else if i := slices.Index(extParties[:], partyOf(s)); i >= 0 {
		t.which = i
	}
	switch s := s.(type) {
	case plan.AdmitAnchor:
		t.issuer = slices.Index(extIssuers[:], s.Anchor)
	case plan.NoteUnused:
		t.issuer = slices.Index(extIssuers[:], s.Anchor)
	case plan.DropAnchor:
		t.issuer = slices.Index(extIssuers[:], s.Anchor)
	case plan.PublishTrust:
		t.anchors = extMask(s.Anchors)
	case plan.Publish:
		t.anchors = extMask(s.Anchors.Of(facts.Server))
	}
	return t
}

func extMask(anchors []string) (mask uint8) {
	for i, name := range extIssuers {
		if slices.Contains(anchors, name) {
			mask |= 1 << i
		}
	}
	return mask
}

// comesToRest checks that every state leads to rest when the user wants nothing else.
func (x *extExploration) comesToRest() string {
	rests := make([]int8, len(x.worlds)) // 0: not known, 1: it does, -1: on the path
	for i := range x.worlds {
		var path []int32
		for at := int32(i); rests[at] != 1; {
			if rests[at] < 0 {
				return x.story(at, "this goes round and round without an end")
			}
			rests[at] = -1
			path = append(path, at)
			next, text := x.leftAlone(at)
			if text != "" {
				return x.story(at, text)
			}
			if next == at {
				break
			}
			at = next
		}
		for _, at := range path {
			rests[at] = 1
		}
	}
	return ""
}

// leftAlone returns the state after the next round; the same: this is rest.
func (x *extExploration) leftAlone(at int32) (int32, string) {
	w := x.worlds[at]
	planned := x.plan(w)
	if steps := planned.steps; len(steps) > 0 {
		for k := 0; k < len(steps); k++ {
			goesOn := w.take(&steps[k])
			for lane := steps[k].lane; !goesOn && k+1 < len(steps) && steps[k+1].lane == lane; {
				k++
			}
		}
		return x.index[w], ""
	}
	for e := range extOutside {
		if e < 2*extPodEvents && e%extPodEvents == 4 {
			continue // a pod that is replaced again and again
		}
		if after, can := w.happens(e); can {
			return x.index[after], ""
		}
	}
	if !planned.waits && (planned.state != plan.Steady || !w.atRest()) || planned.waits && planned.state != plan.Waiting {
		return at, fmt.Sprintf("nothing more happens, and it is not at rest: the plan says %s", planned.state)
	}
	return at, ""
}

func (x *extExploration) story(at int32, what string) string {
	var lines []string
	for n := at; n >= 0; n = x.parents[n] {
		lines = append(lines, x.moves[n])
	}
	slices.Reverse(lines)
	for i := range lines {
		lines[i] = fmt.Sprintf("%3d. %s", i, lines[i])
	}
	return strings.Join(lines, "\n") + "\n  => " + what + fmt.Sprintf("\n     %+v", x.worlds[at])
}
