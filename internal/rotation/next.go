package rotation

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/external"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/rekey"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/rollout"
	"pgtls.dev/pgtls/internal/rotation/window"
)

// Rules are the conditions of every transition, as data.
type Rules struct {
	Rekey    *rekey.Rules
	External *external.Rules
}

// Standard are the rules of the product.
func Standard() Rules { return Rules{Rekey: rekey.Standard(), External: external.Standard()} }

var standard = Standard()

// Next decides what to do about what was observed, by the standard rules.
//
// It returns an error only when the policy makes no sense (a leaf without a
// life); everything that can be the case in a cluster gives a plan.
func Next(policy facts.Policy, observed facts.Observed) (plan.Plan, error) {
	return standard.Next(policy, observed)
}

// Next decides by these rules. The order is that of the derivations, and each reads only what stands before it:
//
//  1. what of the ledger is revoked;
//  2. which external anchors every bundle is to hold;
//  3. the role of each generation, and so the bundles and chains that are wanted;
//  4. the revocation lists that instances are to have;
//  5. the transitions of authorities, and of external anchors;
//  6. what is published, and which pods are asked;
//  7. what waits for a maintenance window.
func (r Rules) Next(policy facts.Policy, observed facts.Observed) (plan.Plan, error) {
	if err := policy.Check(observed.Parties); err != nil {
		return plan.Plan{}, err
	}
	o := &observed
	calendar := window.New(&policy, o.Now)
	revoked := revocation.Assess(o)
	sets := r.Rekey.Derive(&policy, o, external.Admitted(o, &revoked))
	lists := revoked.ListsOf(o, clientIssuers(sets))
	authorities := r.Rekey.Decide(&policy, o, &revoked, sets, calendar)
	anchors := r.External.Decide(&policy, o, &revoked)
	rolled := rollout.Decide(rollout.Input{Policy: &policy, Observed: o, Sets: sets, State: &revoked, Lists: &lists, External: r.External, Calendar: calendar})
	sessions, again := revocation.Sessions(o)

	c := composer{observed: o}
	c.keep(authorities.Keep)
	c.lanes(takeBack(o), authorities.Lanes, revoked.Lanes(o), anchors.Lanes, rolled.Lanes, sessions)
	c.transition(authorities.Transitions, anchors.Transitions)
	c.gate(revoked.Gate, lists.Gate, plan.Gate{Blockers: authorities.Blockers, Wake: authorities.Wake}, anchors.Gate,
		plan.Gate{Blockers: rolled.Blockers, Wake: rolled.Wake}.Until(again), plan.Gate{Blockers: calendar.Blockers(&rolled.Waiting, sets.Resting())})
	p := c.plan
	p.NextRenewal, p.Rekeys, p.Adoptions = rolled.Renewal, authorities.Rekeys, rolled.Adoptions
	for _, domain := range facts.Domains() {
		if active := sets.Active(domain); active != nil {
			p.Active.Set(domain, active.Generation)
		}
	}
	p.State = stateOf(&p)
	return p, nil
}

func clientIssuers(sets *rekey.Sets) []*facts.Authority {
	if sets.Client == nil {
		return nil
	}
	return sets.Client.Issuers
}

func takeBack(o *facts.Observed) (lanes []plan.Lane) {
	for _, object := range o.Unowned {
		lanes = append(lanes, plan.Lane{Of: object.String(), Steps: []plan.Step{plan.TakeBack{Object: object}}})
	}
	return lanes
}

func stateOf(p *plan.Plan) plan.State {
	switch {
	case !p.Empty():
		return plan.Renewing
	case slices.ContainsFunc(p.Blockers, func(b plan.Blocker) bool { return !b.Reason.Expected() }):
		return plan.Waiting
	}
	return plan.Steady
}

// composer puts a plan together. A step that failed lately is left out until it may be tried again, and named until it succeeds:
// so a failure is told in the same words whether it is being tried again or not.
type composer struct {
	observed *facts.Observed
	plan     plan.Plan
}

func (c *composer) keep(steps []plan.Step) {
	for _, s := range steps {
		if c.due(s) {
			c.plan.Keep = append(c.plan.Keep, s)
		}
	}
}

func (c *composer) lanes(groups ...[]plan.Lane) {
	for _, lanes := range groups {
		if len(c.observed.Failures) == 0 {
			if c.plan.Lanes == nil {
				c.plan.Lanes = lanes
			} else {
				c.plan.Lanes = append(c.plan.Lanes, lanes...)
			}
			continue
		}
		for _, lane := range lanes {
			n := 0
			for n < len(lane.Steps) && c.due(lane.Steps[n]) {
				n++
			}
			if n > 0 {
				c.plan.Lanes = append(c.plan.Lanes, plan.Lane{Of: lane.Of, Steps: lane.Steps[:n]})
			}
		}
	}
}

// transition takes the first that may be taken now: one that keeps failing does not keep another from its turn. One that takes trust
// away was decided on what pods use, and what the same plan publishes they do not use yet: it waits for a plan that publishes
// nothing.
func (c *composer) transition(groups ...[]plan.Step) {
	for _, steps := range groups {
		for _, s := range steps {
			if c.plan.Transition == nil && c.due(s) && !(takesTrustAway(s) && c.publishes()) {
				c.plan.Transition = s
			}
		}
	}
}

func takesTrustAway(s plan.Step) bool {
	switch s.(type) {
	case plan.DropOld, plan.DropAnchor, plan.DiscardAuthority:
		return true
	}
	return false
}

func (c *composer) publishes() bool {
	return slices.ContainsFunc(c.plan.Lanes, func(l plan.Lane) bool {
		_, is := l.Steps[0].(plan.Publish)
		return is
	})
}

// due reports whether a step may be taken now, and says why not.
func (c *composer) due(s plan.Step) bool {
	failure := c.observed.Failure(s.Key())
	if failure == nil {
		return true
	}
	c.plan.Blockers = append(c.plan.Blockers, plan.Block(failure.Object, reason.StepFailed, "%s: %s", s.Key(), failure.Message))
	if !c.observed.Now.Before(failure.RetryAt) {
		return true
	}
	c.wake(failure.RetryAt)
	return false
}

func (c *composer) gate(gates ...plan.Gate) {
	for _, g := range gates {
		c.plan.Blockers = append(c.plan.Blockers, g.Blockers...)
		c.wake(g.Wake)
	}
}

func (c *composer) wake(t time.Time) {
	if t.After(c.observed.Now) {
		c.plan.Wake = plan.Sooner(c.plan.Wake, t)
	}
}
