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
	"pgtls.dev/pgtls/internal/rotation/served"
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
	r := rollout{view: viewOf(in), record: record{now: in.Observed.Now, parties: len(in.Observed.Parties)}}
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
	return r.Outcome
}

// rollout writes one party's material after the other, and asks its pods to use it.
type rollout struct {
	view
	record

	closed  bool // an earlier party or pod is not settled
	revives bool // a bundle is written that may bring back a revision which a pod was asked for and does not use
	reissue [2]facts.Domain
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
	need := (&needs{view: &r.view, record: &r.record, party: p, need: need{canWait: true, reissue: r.reissue[:0]}}).work()
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
	n.reissue = cut(&r.domains, n.reissue...) // the need of the next party takes its place
	var publish plan.Step = r.material(p, n)  // once, for each conversion is a copy
	if plan.Held(r.Observed, publish) != nil {
		r.lane(p.Name, publish)
		r.settle(p)
		return
	}
	if len(n.reissue) == 0 && !n.relisted && unfulfilled(p) {
		r.revives = true
	}
	if activate := r.activateFirst(p); activate != nil {
		r.lane(p.Name, publish, activate)
		return
	}
	r.lane(p.Name, publish)
}

// activateFirst asks the first pod of a party to use what the plan is about to
// publish for it, in the same lane: one round less until it is served.
func (r *rollout) activateFirst(p *facts.Party) plan.Step {
	if len(p.Pods) == 0 {
		return nil
	}
	pod := &p.Pods[0]
	gate := r.gate(p, pod, r.closed)
	r.closed = true
	switch {
	case !r.isOpen(gate):
		return nil
	case pod.Report == nil && !r.issuersExpired(p):
		r.isOpen(unreachable(pod))
		return nil
	case r.revives && !r.urgent(p, pod):
		return nil
	}
	return plan.Activate{Party: p.Name, Pod: pod.Name, Reason: reason.Published}
}

// settle brings the pods of a party to its published material, one after the other. A pod that could not be
// asked, because the API server denied it, and is not to be tried again yet, holds up no other: it goes on serving what it did.
func (r *rollout) settle(p *facts.Party) {
	for i := range p.Pods {
		pod := &p.Pods[i]
		if served.Settled(p, pod) {
			continue
		}
		c := podCase{view: &r.view, party: p, pod: pod, closed: r.closed, revives: r.revives}
		step, gate := c.next()
		r.isOpen(gate)
		if step != nil {
			r.lane(pod.Name, step)
		}
		r.closed = r.closed || len(r.Observed.Failures) == 0 || plan.Held(r.Observed, plan.Activate{Pod: pod.Name}) == nil
	}
}

// unfulfilled reports whether a pod of a party was asked for a revision that it is not known to use and that a write may bring back.
func unfulfilled(p *facts.Party) bool {
	return slices.ContainsFunc(p.Pods, func(pod facts.Pod) bool {
		return pod.Asked != "" && (pod.Report == nil || pod.Report.Active != pod.Asked || pod.Report.Pending())
	})
}
