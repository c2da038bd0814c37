package rotation

import (
	"fmt"
	"slices"
	"strconv"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// The steps of plans as the tiny world takes them. Each is read once from what the step says, and nothing is looked up later.

type tinyOp uint8

const (
	tinyTrustNew tinyOp = iota + 1
	tinySwitchSigner
	tinyRollBack
	tinyDropOld
	tinyDiscard
	tinyPublishTrust
	tinyPublish
	tinyActivate
	tinyProve
	tinyUnknown // no executor knows how to take it
)

// tinyStep is a step as data that can be compared.
type tinyStep struct {
	op                 tinyOp
	lane               uint8 // steps of one lane have the same
	generation, active uint8 // active signs what is published, or is written on
	which              uint8 // the pod, or the party: 2 is the operator
	anchors            uint8 // bundle that is written
	chain              [2]bridgeID
	reissue, bridged   bool
	reads              bool     // what it activates is what its lane has published
	revision           material // that is activated
}

// object is a bit for each object of the API server.
type object uint16

const (
	objectG1 object = 1 << iota // and the next two
	_
	_
	objectConfig
	objectParty // of the first, and the next two
	_
	_
	objectPod // the annotation of the first, and the next
)

// on is the object that a step writes to.
func (s *tinyStep) on() object {
	switch s.op {
	case tinyTrustNew, tinySwitchSigner, tinyRollBack, tinyDiscard:
		return objectG1 << (s.generation - 1)
	case tinyDropOld:
		return objectG1 << (s.active - 1)
	case tinyPublishTrust:
		return objectConfig
	case tinyPublish:
		return objectParty << s.which
	case tinyActivate:
		return objectPod << s.which
	}
	return 0
}

// compile reads a plan. Every step of Keep is a lane of its own.
func compile(planned *plan.Plan) (steps []tinyStep) {
	lane := uint8(0)
	add := func(s plan.Step) {
		t := compileStep(s)
		t.lane = lane
		steps = append(steps, t)
	}
	for _, s := range planned.Keep {
		add(s)
		lane++
	}
	for _, l := range planned.Lanes {
		for _, s := range l.Steps {
			add(s)
		}
		lane++
	}
	if planned.Transition != nil {
		add(planned.Transition)
	}
	return steps
}

func compileStep(s plan.Step) tinyStep {
	switch s := s.(type) {
	case plan.TrustNew:
		return tinyStep{op: tinyTrustNew, generation: uint8(s.Generation), active: uint8(s.Active), bridged: s.Bridged}
	case plan.SwitchSigner:
		return tinyStep{op: tinySwitchSigner, generation: uint8(s.Generation)}
	case plan.RollBack:
		return tinyStep{op: tinyRollBack, generation: uint8(s.Generation), active: uint8(s.To)}
	case plan.DropOld:
		return tinyStep{op: tinyDropOld, generation: uint8(s.Generation), active: uint8(s.Active)}
	case plan.DiscardAuthority:
		return tinyStep{op: tinyDiscard, generation: uint8(s.Generation)}
	case plan.PublishTrust:
		return tinyStep{op: tinyPublishTrust, anchors: tinyAnchors(s.Anchors)}
	case plan.Publish:
		t := tinyStep{op: tinyPublish, which: tinyParty(s.Party), anchors: tinyAnchors(s.Anchors.Server), reissue: slices.Contains(s.Reissue, facts.Server), active: uint8(s.Active.Server)}
		for i, fingerprint := range s.Chain.Server {
			t.chain[i] = bridgeNamed(fingerprint)
		}
		return t
	case plan.Activate:
		t := tinyStep{op: tinyActivate, which: tinyPodNamed(s.Pod), reads: s.Revision == ""}
		revision, _ := strconv.ParseUint(s.Revision, 16, 16)
		t.revision = material(revision)
		return t
	case plan.Prove:
		return tinyStep{op: tinyProve, which: tinyPodNamed(s.Pod)}
	}
	return tinyStep{op: tinyUnknown}
}

func tinyAnchors(fingerprints []string) (mask uint8) {
	for g := 1; g <= 3; g++ {
		if slices.Contains(fingerprints, certificate(facts.Server, g).Fingerprint) {
			mask |= bit(g)
		}
	}
	return mask
}

func tinyParty(name string) uint8 {
	if i := slices.Index(tinyParties[:], name); i >= 0 {
		return uint8(i)
	}
	return 2
}

func tinyPodNamed(name string) uint8 { return uint8(slices.Index(tinyPodNames[:], name)) }

// take executes a step. One whose object is gone, or is there already, fails; a promise that the step itself breaks is returned.
func (w *tinyWorld) take(s *tinyStep) (failed bool, broken string) {
	switch s.op {
	case tinyTrustNew:
		failed, broken = w.trustNew(s)
	case tinySwitchSigner, tinyRollBack, tinyDropOld, tinyDiscard:
		failed = w.note(s)
	case tinyPublishTrust:
		w.config = s.anchors
	case tinyPublish:
		w.publish(s)
	case tinyActivate:
		p := &w.pods[s.which]
		p.provenAt, p.proven = 0, 0 // what was seen of this revision before is no proof
		switch {
		case s.reads:
			p.asked = p.published
		case s.revision == 0:
			p.asked = w.second.asks[s.which]
		default:
			p.asked = s.revision
		}
	case tinyProve:
		p := &w.pods[s.which]
		p.provenAt, p.proven = p.active, p.serves.leaf()
	default:
		return true, "no executor knows how to take a step of the plan"
	}
	if !failed {
		w.changed(s.on())
	}
	return failed, broken
}

// typed is a step as the invariants judge it.
func (s *tinyStep) typed(w *tinyWorld) plan.Step {
	g, active := int(s.generation), int(s.active)
	switch s.op {
	case tinyTrustNew:
		return plan.TrustNew{Domain: facts.Server, Generation: g, Active: active, Bridged: s.bridged}
	case tinySwitchSigner:
		return plan.SwitchSigner{Domain: facts.Server, Generation: g}
	case tinyRollBack:
		return plan.RollBack{Domain: facts.Server, Generation: g, To: active}
	case tinyDropOld:
		return plan.DropOld{Domain: facts.Server, Generation: g, Active: active}
	case tinyDiscard:
		return plan.DiscardAuthority{Domain: facts.Server, Generation: g}
	case tinyPublishTrust:
		return plan.PublishTrust{Anchors: anchorNames(s.anchors)}
	case tinyPublish:
		p := plan.Publish{Party: "operator", Anchors: facts.Bundles{Server: anchorNames(s.anchors)}, Active: plan.PerDomain[int]{Server: active}}
		if s.which < 2 {
			p.Party = tinyParties[s.which]
		}
		if s.reissue {
			p.Reissue = []facts.Domain{facts.Server}
		}
		for _, b := range s.chain {
			if b != 0 {
				p.Chain.Server = append(p.Chain.Server, b.String())
			}
		}
		return p
	case tinyActivate:
		asked := w.second.asks[s.which]
		if s.reads {
			asked = w.pods[s.which].published
		}
		return plan.Activate{Party: tinyParties[s.which], Pod: tinyPodNames[s.which], Revision: asked.revision()}
	default:
		return plan.Prove{Pod: tinyPodNames[s.which]}
	}
}

// changed notes that an object is another than the second operator has seen.
func (w *tinyWorld) changed(o object) {
	if w.second.held != 0 {
		w.second.stale |= uint16(o)
	}
}

// trustNew creates a Secret, which fails when there is one. A number may be used again when every Secret that named it was
// deleted by force, as long as no bundle of a party holds the first one.
func (w *tinyWorld) trustNew(s *tinyStep) (failed bool, broken string) {
	if int(s.generation) > len(w.authorities) {
		return true, fmt.Sprintf("g%d is made and no request asks for it", s.generation)
	}
	n := &w.authorities[s.generation-1]
	switch {
	case n.stored:
		return true, ""
	case n.made && (w.trusting()&^w.config)&bit(int(s.generation)) != 0:
		return true, fmt.Sprintf("there are two keys of g%d", s.generation)
	case s.bridged && !w.authorities[s.active-1].stored:
		return true, "" // there is no key to sign the bridge with
	}
	*n = tinyAuthority{made: true, stored: true, answered: w.request, seen: w.rollback}
	if s.bridged {
		n.by = s.active
		n.older = bridgeOf(int(s.active), int(w.authorities[s.active-1].by))
	}
	w.cut = w.cut || !s.bridged
	return false, ""
}

// note writes to one Secret, which fails when it is gone.
func (w *tinyWorld) note(s *tinyStep) (failed bool) {
	on := s.generation
	if s.op == tinyDropOld {
		on = s.active
	}
	a, other := &w.authorities[on-1], &w.authorities[s.generation-1]
	if !a.stored {
		return true
	}
	switch s.op {
	case tinySwitchSigner:
		a.switched = 1
	case tinyRollBack:
		a.backTo, a.seen = s.active, w.rollback
	case tinyDropOld:
		a.retired |= bit(int(s.generation))
		if other.backTo != 0 {
			a.rolledBack, a.answered, a.seen = s.generation, other.answered, other.seen
		}
	default:
		*a = tinyAuthority{made: true}
	}
	return false
}

func (w *tinyWorld) publish(s *tinyStep) {
	if s.which == 2 {
		w.operator = s.anchors
		return
	}
	p := &w.pods[s.which]
	issuer, serial := p.published.issuer(), p.published.serial()
	if s.reissue {
		issuer, serial = int(s.active), 15 // until canonical numbers it
	}
	p.published = newMaterial(issuer, serial, s.chain, s.anchors)
}

// --- steps that fail for good

// tinyFailing is a kind of step that fails for one object; 0: none does.
type tinyFailing uint8

var tinyFailingNames = [...]string{"", "TrustNew", "SwitchSigner", "RollBack", "DropOld", "DiscardAuthority", "PublishTrust",
	"Publish hippo", "Publish pooler", "Publish operator", "Activate hippo-0", "Activate pooler-x"}

const tinyFailings = len(tinyFailingNames) - 1

func (f tinyFailing) String() string { return tinyFailingNames[f] }

// hits reports whether a step is of the kind that fails.
func (f tinyFailing) hits(s *tinyStep) bool {
	switch {
	case f == 0:
		return false
	case s.op <= tinyPublishTrust:
		return tinyOp(f) == s.op
	case s.op == tinyPublish:
		return uint8(f) == 7+s.which
	case s.op == tinyActivate:
		return uint8(f) == 10+s.which
	}
	return false
}

// tinyKeys are the keys of steps that may fail, as plan.Step says them: a bit of tinyWorld.failed for each.
var tinyKeys = func() (keys []string) {
	for g := 1; g <= 3; g++ {
		for _, s := range []plan.Step{plan.TrustNew{Domain: facts.Server, Generation: g}, plan.SwitchSigner{Domain: facts.Server, Generation: g},
			plan.RollBack{Domain: facts.Server, Generation: g}, plan.DropOld{Domain: facts.Server, Generation: g}, plan.DiscardAuthority{Domain: facts.Server, Generation: g}} {
			keys = append(keys, s.Key())
		}
	}
	return append(keys, plan.PublishTrust{}.Key(), plan.Publish{Party: "hippo"}.Key(), plan.Publish{Party: "pooler"}.Key(), plan.Publish{Party: "operator"}.Key(),
		plan.Activate{Pod: "hippo-0"}.Key(), plan.Activate{Pod: "pooler-x"}.Key())
}()

// key is the bit of a step among those that may fail.
func (s *tinyStep) key() uint32 {
	switch {
	case s.op <= tinyDiscard:
		return 1 << (5*(uint32(s.generation)-1) + uint32(s.op-tinyTrustNew))
	case s.op == tinyPublishTrust:
		return 1 << 15
	case s.op == tinyPublish:
		return 1 << (16 + uint32(s.which))
	case s.op == tinyActivate:
		return 1 << (19 + uint32(s.which))
	}
	return 0
}

// execute takes a step, or fails to: then it is remembered, until it succeeds. It returns whether its lane goes on.
func (w *tinyWorld) execute(s *tinyStep) (goesOn bool, broken string) {
	if w.fails.hits(s) {
		w.failed |= s.key()
		return false, ""
	}
	failed, broken := w.take(s)
	if !failed {
		w.failed &^= s.key()
	}
	return !failed, broken
}
