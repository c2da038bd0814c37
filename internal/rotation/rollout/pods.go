package rollout

import (
	"slices"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// activateFirst asks the first pod of a party to use what the plan is about to
// publish for it, in the same lane: one round less until it is served.
func (r *rollout) activateFirst(p *facts.Party) plan.Step {
	if len(p.Pods) == 0 {
		return nil
	}
	pod := &p.Pods[0]
	gate := r.open(p, pod)
	r.closed = true
	switch {
	case !r.isOpen(gate):
		return nil
	case pod.Report == nil && !r.issuersExpired(p):
		r.unreachable(pod)
		return nil
	case r.revives && !r.urgent(p, pod):
		return nil
	}
	return plan.Activate{Party: p.Name, Pod: pod.Name, Reason: reason.Published}
}

// open is the gate of a pod: every earlier pod is settled and none anywhere is in doubt after being asked (the order changes
// with a failover), and every bundle that is published accepts what it is to present; or it cannot wait for that any longer.
func (r *rollout) open(p *facts.Party, pod *facts.Pod) plan.Gate {
	if r.issuersExpired(p) || !r.closed && !r.doubt && r.accepted(p) {
		return plan.Gate{}
	}
	revoked := revocation.Urgent(r.Observed, p, pod)
	if !revoked.Closed {
		return revoked
	}
	at, known := p.EndsIn(pod, r.Policy.Patience(p.ShortestWindow()))
	switch {
	case !known:
		return revoked
	case !r.Observed.Now.Before(at):
		return plan.Gate{}
	}
	return revoked.Until(at)
}

// urgent reports whether a pod passes the gate because it cannot wait.
func (r *rollout) urgent(p *facts.Party, pod *facts.Pod) bool {
	at, known := p.EndsIn(pod, r.Policy.Patience(p.ShortestWindow()))
	return known && !r.Observed.Now.Before(at) || !revocation.Urgent(r.Observed, p, pod).Closed || r.issuersExpired(p)
}

// accepted reports whether every published bundle holds the active authority of each domain that a party presents in, or the
// party's leaf is of another one, which is judged where that is.
func (r *rollout) accepted(p *facts.Party) bool {
	return (r.held.Server || !p.WantsLeaf(facts.Server)) && (r.held.Client || !p.WantsLeaf(facts.Client))
}

// bundlesHold reports for each domain whether every published bundle that can be read holds the active authority.
func (r *rollout) bundlesHold() (held plan.PerDomain[bool]) {
	for _, domain := range facts.Domains() {
		holds := true
		if active := r.Sets.Active(domain); active != nil {
			for i := range r.Observed.Parties {
				m := &r.Observed.Parties[i].Material
				bundle := m.Anchors.Of(domain)
				holds = holds && (bundle == nil || m.State == facts.Foreign || slices.Contains(bundle, active.Certificate.Fingerprint))
			}
		}
		held.Set(domain, holds)
	}
	return held
}

// anyInDoubt reports whether some pod was asked for what is published and was not seen to use it.
func (r *rollout) anyInDoubt() bool {
	for i := range r.Observed.Parties {
		if served.InDoubt(&r.Observed.Parties[i], "") != "" {
			return true
		}
	}
	return false
}

// unfulfilled reports whether a pod of a party was asked for a revision that it is not known to use and that a write may bring back.
func unfulfilled(p *facts.Party) bool {
	return slices.ContainsFunc(p.Pods, func(pod facts.Pod) bool {
		return pod.Asked != "" && (pod.Report == nil || pod.Report.Active != pod.Asked || pod.Report.Pending())
	})
}

// issuersExpired reports whether every verifier refuses all that a party could have presented before: an authority has
// expired with all that it issued. Then nothing is lost by asking a pod that cannot even be asked what it uses, for it can
// neither show a certificate nor accept the operator's.
func (r *rollout) issuersExpired(p *facts.Party) bool {
	for _, domain := range facts.Domains() {
		if s := r.Sets.Of(domain); s != nil && s.IssuersExpired && p.WantsLeaf(domain) {
			return true
		}
	}
	return false
}

// settle brings the pods of a party to its published material, one after the other. A pod that could not be
// asked, because the API server denied it, and is not to be tried again yet, holds up no other: it goes on serving what it did.
func (r *rollout) settle(p *facts.Party) {
	for i := range p.Pods {
		pod := &p.Pods[i]
		if served.Settled(p, pod) {
			continue
		}
		switch {
		case !served.Sound(p):
		case pod.Report != nil && pod.Report.Pending() && pod.Report.Active == p.Material.Revision:
			r.settlePending(p, pod)
		case pod.Report != nil && pod.Report.Active == p.Material.Revision:
			r.prove(p, pod) // a handshake harms no client and needs no gate
		case pod.Asked == p.Material.Revision:
			r.await(p, pod)
		case r.trusted(p) && r.isOpen(r.open(p, pod)) && (!r.revives || r.urgent(p, pod)):
			r.activate(p, pod)
		}
		r.closed = r.closed || len(r.Observed.Failures) == 0 || plan.Held(r.Observed, plan.Activate{Pod: pod.Name}) == nil
	}
}

// trusted reports whether every leaf of a party was signed by an authority that every verifier holds already: what is not known
// to be trusted is not activated.
func (r *rollout) trusted(p *facts.Party) bool {
	for i := range p.Material.Leaves {
		s := r.Sets.Of(p.Material.Leaves[i].Domain)
		if s == nil || s.Active == nil && s.Next == nil {
			return false
		}
		if issuer, _ := s.Issuer(&p.Material.Leaves[i]); issuer == nil || issuer == s.Next {
			return false
		}
	}
	return true
}

// activate asks a pod to use its party's material.
func (r *rollout) activate(p *facts.Party, pod *facts.Pod) {
	if pod.Report == nil && !r.issuersExpired(p) {
		r.unreachable(pod)
		return
	}
	r.lane(pod.Name, plan.Activate{Party: p.Name, Pod: pod.Name, Revision: p.Material.Revision, Reason: reason.Published})
}

// settlePending waits for a pod that uses what is published, and still holds what was published in between: asked for it long ago,
// it may take it yet.
func (r *rollout) settlePending(p *facts.Party, pod *facts.Pod) {
	switch {
	case pod.Asked != p.Material.Revision && r.trusted(p) && r.isOpen(r.open(p, pod)):
		r.activate(p, pod)
	case pod.Asked == p.Material.Revision && r.retrigger(p, pod):
	default:
		r.block(pod.Name, reason.AwaitingActivation, "pod %s uses revision %s and still holds revision %s, which is published no more",
			pod.Name, p.Material.Revision, pod.Report.Mounted)
	}
}

// retrigger has a kubelet that has looked a moment too early look again, when it is time to.
func (r *rollout) retrigger(p *facts.Party, pod *facts.Pod) bool {
	if pod.Report == nil || pod.Report.Delivered(p.Material.Revision) || pod.RetriggerAt.IsZero() {
		return false
	}
	if r.Observed.Now.Before(pod.RetriggerAt) {
		r.wakeAt(pod.RetriggerAt)
		return false
	}
	r.lane(pod.Name, plan.Retrigger{Party: p.Name, Pod: pod.Name, Revision: p.Material.Revision})
	return true
}

// await says why a pod that was asked does not use its party's material yet. A
// kubelet that has looked a moment too early is triggered again: by itself it
// would take a minute or more.
func (r *rollout) await(p *facts.Party, pod *facts.Pod) {
	switch {
	case r.retrigger(p, pod):
	case pod.Report == nil:
		r.unreachable(pod)
	case pod.Report.ProblemReason != "":
		r.block(pod.Name, reason.AgentRefused, "%s: %s", pod.Report.ProblemReason, pod.Report.ProblemMessage)
	default:
		r.block(pod.Name, reason.AwaitingActivation, "pod %s was asked to use revision %s and still uses %s", pod.Name, p.Material.Revision, pod.Report.Active)
	}
}

func (r *rollout) unreachable(pod *facts.Pod) {
	r.block(pod.Name, reason.AgentUnreachable, "the agent of pod %s gives no report: see the pod's state and its container agent", pod.Name)
}

// prove handshakes with a pod, or says what the last handshake showed.
func (r *rollout) prove(p *facts.Party, pod *facts.Pod) {
	unproven := len(pod.Proofs) == 0
	for _, proof := range pod.Proofs {
		unproven = unproven || proof.Revision != p.Material.Revision
	}
	if unproven {
		r.lane(pod.Name, plan.Prove{Party: p.Name, Pod: pod.Name, Revision: p.Material.Revision})
		return
	}
	for i := range pod.Proofs {
		proof := &pod.Proofs[i]
		switch {
		case proof.Fingerprint == "":
			r.block(pod.Name, reason.NotProven, "port %s of pod %s could not be proven: %s", proof.Port, pod.Name, proof.Problem)
		case proof.Fingerprint != p.Served(proof):
			r.block(pod.Name, reason.StillServingOld, "port %s of pod %s serves another leaf than the published one although its agent reports it", proof.Port, pod.Name)
		}
	}
}
