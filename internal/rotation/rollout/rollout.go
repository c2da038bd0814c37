package rollout

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/external"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/rekey"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/window"
)

// Input is what a rollout follows from.
type Input struct {
	Policy   *facts.Policy
	Observed *facts.Observed
	Sets     *rekey.Sets
	State    *revocation.State
	Lists    *revocation.Lists
	External *external.Rules
	Calendar *window.Calendar
}

// Outcome is what is published and which pods are asked.
type Outcome struct {
	Lanes     []plan.Lane
	Blockers  []plan.Blocker
	Wake      time.Time
	Renewal   time.Time // when the next leaf becomes due; zero if none will
	Adoptions []plan.Adoption
	Waiting   window.Waiting
}

// Decide walks the parties in stage order. The ConfigMap for clients and material that no party wants come besides.
func Decide(in Input) Outcome {
	r := rollout{Input: in}
	r.held = r.bundlesHold()
	r.doubt = r.anyInDoubt()
	r.publicTrust()
	for stage := party.StageAlone; stage <= party.StagePrimary; stage++ {
		for i := range r.Observed.Parties {
			if p := &r.Observed.Parties[i]; stageOf(p) == stage {
				r.party(p)
			}
		}
	}
	for _, name := range r.Observed.Unwanted {
		r.lane(name, plan.Discard{Party: name, Reason: reason.Unwanted})
	}
	return r.out
}

// rollout collects an outcome.
type rollout struct {
	Input
	out Outcome

	closed  bool // an earlier party or pod is not settled
	doubt   bool // some pod was asked for what is published and was not seen to use it
	held    plan.PerDomain[bool]
	revives bool // a bundle is written that may bring back a revision which a pod was asked for and does not use
	reissue [2]facts.Domain
}

func (r *rollout) lane(of string, steps ...plan.Step) {
	const few = 4 // more than that are for all parties, as when trust changes
	if len(r.out.Lanes) == few {
		r.out.Lanes = slices.Grow(r.out.Lanes, len(r.Observed.Parties))
	}
	r.out.Lanes = append(r.out.Lanes, plan.Lane{Of: of, Steps: steps})
}

func (r *rollout) block(party string, code reason.Code, format string, args ...any) {
	r.out.Blockers = append(r.out.Blockers, plan.Block(party, code, format, args...))
}

func (r *rollout) wakeAt(t time.Time) {
	if t.After(r.Observed.Now) {
		r.out.Wake = plan.Sooner(r.out.Wake, t)
	}
}

// isOpen adds what a gate says to the outcome, and reports whether it is open.
func (r *rollout) isOpen(g plan.Gate) bool {
	r.out.Blockers = append(r.out.Blockers, g.Blockers...)
	r.wakeAt(g.Wake)
	return !g.Closed
}

// publicTrust keeps the ConfigMap that clients read.
func (r *rollout) publicTrust() {
	anchors := r.Sets.Anchors(facts.Server)
	trust := r.Observed.PublicTrust
	switch {
	case trust.State == facts.Foreign:
		r.block("ca", reason.ForeignConfigMap, "the ConfigMap for the clients' trust bundle is not this cluster's: rename it")
	case trust.State == facts.Unknown:
		r.block("ca", reason.MaterialUnknown, "the ConfigMap for the clients' trust bundle could not be read: the operator tries again")
	case anchors == nil:
	case trust.State == facts.Missing:
		r.lane("ca", plan.PublishTrust{Anchors: anchors, Reason: reason.Missing})
	case !slices.Equal(trust.Anchors, anchors):
		r.lane("ca", plan.PublishTrust{Anchors: anchors, Reason: reason.TrustChanged})
	}
}

// party publishes for one party and settles its pods.
func (r *rollout) party(p *facts.Party) {
	switch p.Material.State {
	case facts.Unknown:
		r.block(p.Name, reason.MaterialUnknown, "Secret %s could not be read: the operator tries again", p.Name)
		r.closed = true
		return
	case facts.Foreign:
		r.block(p.Name, reason.ForeignSecret, "Secret %s exists and is not this cluster's: rename it", p.Name)
		return // its pods cannot have started from it; the rest goes on
	case facts.Missing, facts.Present:
	}
	if !r.writable(p) || p.Kind.InLedger && !r.State.Readable {
		r.settle(p)
		return
	}
	need := r.need(p)
	if need.reason == "" {
		r.settle(p)
		return
	}
	if r.closed && need.canWait {
		if urgentAt := p.PublishUrgentAt(r.Policy); r.Observed.Now.Before(urgentAt) {
			r.wakeAt(urgentAt)
			r.settle(p)
			return
		}
	}
	r.publish(p, need)
}

// publish writes a party's material. A party whose Secret could not be written, and is not to be tried again yet, holds up no other:
// nothing has changed for its pods.
func (r *rollout) publish(p *facts.Party, n need) {
	step := plan.Publish{
		Party: p.Name, Reissue: slices.Clone(n.reissue), Adopt: n.adopt, Own: n.own, Reason: n.reason,
	}
	if p.Kind.AuthenticatesClients {
		step.Lists, step.KeepLists = r.Lists.Wanted, r.Lists.Keep
	}
	for _, domain := range facts.Domains() {
		if p.Kind.Verifies(domain) {
			step.Anchors.Set(domain, r.Sets.Anchors(domain))
		}
	}
	for i := range p.Wants {
		r.contents(&step, p, p.Wants[i].Domain)
	}
	if plan.Held(r.Observed, step) != nil {
		r.lane(p.Name, step)
		r.settle(p)
		return
	}
	if len(n.reissue) == 0 && !n.relisted && unfulfilled(p) {
		r.revives = true
	}
	steps := []plan.Step{step}
	if activate := r.activateFirst(p); activate != nil {
		steps = append(steps, activate)
	}
	r.lane(p.Name, steps...)
}

// contents says which authority signs a leaf, and which bridges are presented behind it.
func (r *rollout) contents(step *plan.Publish, p *facts.Party, domain facts.Domain) {
	set := r.Sets.Of(domain)
	if set == nil {
		return
	}
	if slices.Contains(step.Reissue, domain) {
		step.Active.Set(domain, set.Active.Generation)
		step.Chain.Set(domain, set.ChainOf(set.Active))
	} else if leaf := p.Leaf(domain); leaf != nil {
		_, chain := set.Issuer(leaf)
		step.Chain.Set(domain, chain)
	}
}

// writable reports whether a party's material can be written: every leaf that it wants can be signed or be kept while a new
// authority is brought in, and the bundle of a domain without authority is there to be kept.
func (r *rollout) writable(p *facts.Party) bool {
	for _, domain := range facts.Domains() {
		s := r.Sets.Of(domain)
		switch {
		case s != nil && s.Active != nil:
		case s != nil && s.Next != nil:
			if leaf := p.Leaf(domain); p.WantsLeaf(domain) && (leaf == nil || leaf.Problem != "") {
				return false
			}
		case p.WantsLeaf(domain) || p.Kind.Verifies(domain) && len(p.Material.Anchors.Of(domain)) == 0:
			return false
		}
	}
	return true
}
