package rollout

import (
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// podCase is a pod that is not settled, and the party whose material it is to use.
type podCase struct {
	*view
	party   *facts.Party
	pod     *facts.Pod
	closed  bool // an earlier party or pod is not settled
	revives bool // see rollout
}

// next returns the step that brings the pod to its party's published material (nil: none), and a gate with what it waits for.
func (c *podCase) next() (plan.Step, plan.Gate) {
	revision, report := c.party.Material.Revision, c.pod.Report
	switch {
	case !served.Sound(c.party):
	case report != nil && report.Pending() && report.Active == revision:
		return c.pending()
	case report != nil && report.Active == revision:
		return c.prove() // a handshake harms no client and needs no gate
	case c.pod.Asked == revision:
		return c.await()
	case c.trusted(c.party):
		gate := c.gate(c.party, c.pod, c.closed)
		if gate.Closed || c.revives && !c.urgent(c.party, c.pod) {
			return nil, gate
		}
		return c.activate(gate)
	}
	return nil, plan.Gate{}
}

// activate asks the pod, whose gate is open, to use its party's material.
func (c *podCase) activate(gate plan.Gate) (plan.Step, plan.Gate) {
	if c.pod.Report == nil && !c.issuersExpired(c.party) {
		return nil, gate.And(unreachable(c.pod))
	}
	return plan.Activate{Party: c.party.Name, Pod: c.pod.Name, Revision: c.party.Material.Revision, Reason: reason.Published}, gate
}

// pending waits for a pod that uses what is published, and still holds what was published in between: asked for it long ago,
// it may take it yet.
func (c *podCase) pending() (plan.Step, plan.Gate) {
	revision, gate := c.party.Material.Revision, plan.Gate{}
	switch {
	case c.pod.Asked == revision:
		step, wake := c.retrigger()
		if step != nil {
			return step, gate
		}
		gate = gate.Until(wake)
	case c.trusted(c.party):
		if gate = c.gate(c.party, c.pod, c.closed); !gate.Closed {
			return c.activate(gate)
		}
	}
	return nil, gate.And(plan.Shut(plan.Block(c.pod.Name, reason.AwaitingActivation, "pod %s uses revision %s and still holds revision %s, which is published no more",
		c.pod.Name, revision, c.pod.Report.Mounted)))
}

// retrigger has a kubelet that has looked a moment too early look again, or returns when it is time to (zero: never).
func (c *podCase) retrigger() (plan.Step, time.Time) {
	pod, revision := c.pod, c.party.Material.Revision
	if pod.Report == nil || pod.Report.Delivered(revision) || pod.RetriggerAt.IsZero() {
		return nil, time.Time{}
	}
	if c.Observed.Now.Before(pod.RetriggerAt) {
		return nil, pod.RetriggerAt
	}
	return plan.Retrigger{Party: c.party.Name, Pod: pod.Name, Revision: revision}, time.Time{}
}

// await says why a pod that was asked does not use its party's material yet. A
// kubelet that has looked a moment too early is triggered again: by itself it
// would take a minute or more.
func (c *podCase) await() (plan.Step, plan.Gate) {
	step, wake := c.retrigger()
	if step != nil {
		return step, plan.Gate{}
	}
	report := c.pod.Report
	switch {
	case report == nil:
		return nil, unreachable(c.pod)
	case report.ProblemReason != "":
		return nil, plan.Shut(plan.Block(c.pod.Name, reason.AgentRefused, "%s: %s", report.ProblemReason, report.ProblemMessage)).Until(wake)
	}
	return nil, plan.Shut(plan.Block(c.pod.Name, reason.AwaitingActivation, "pod %s was asked to use revision %s and still uses %s",
		c.pod.Name, c.party.Material.Revision, report.Active)).Until(wake)
}

func unreachable(pod *facts.Pod) plan.Gate {
	return plan.Shut(plan.Block(pod.Name, reason.AgentUnreachable, "the agent of pod %s gives no report: see the pod's state and its container agent", pod.Name))
}

// prove handshakes with the pod, or says what the last handshake showed.
func (c *podCase) prove() (plan.Step, plan.Gate) {
	pod, revision := c.pod, c.party.Material.Revision
	unproven := len(pod.Proofs) == 0
	for _, proof := range pod.Proofs {
		unproven = unproven || proof.Revision != revision
	}
	if unproven {
		return plan.Prove{Party: c.party.Name, Pod: pod.Name, Revision: revision}, plan.Gate{}
	}
	gate := plan.Gate{}
	for i := range pod.Proofs {
		proof := &pod.Proofs[i]
		switch {
		case proof.Fingerprint == "":
			gate = gate.And(plan.Shut(plan.Block(pod.Name, reason.NotProven, "port %s of pod %s could not be proven: %s", proof.Port, pod.Name, proof.Problem)))
		case proof.Fingerprint != c.party.Served(proof):
			gate = gate.And(plan.Shut(plan.Block(pod.Name, reason.StillServingOld, "port %s of pod %s serves another leaf than the published one although its agent reports it", proof.Port, pod.Name)))
		}
	}
	return nil, gate
}
