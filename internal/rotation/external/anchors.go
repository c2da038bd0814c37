// Package external decides about trust anchors and certificates that are not the cluster's own: an anchor is trusted before
// anything that it issued is presented, and dropped when nothing wants or presents it any more and the soak is over.
package external

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/rekey"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// Guard is a named condition.
type Guard[C any] struct {
	Name string
	Open func(C) plan.Gate
}

// Case is what a guard of DropAnchor is asked about.
type Case struct {
	Observed *facts.Observed
	Anchor   *facts.Anchor
}

// Rules are the conditions under which an external anchor is dropped, and a custom certificate presented. The tests leave out one
// at a time and must see a client refused.
type Rules struct {
	// Trust are the verifiers that must be known to accept a custom certificate.
	Trust []Verifier
	// Propagation is the time that clients which follow the ConfigMap are given.
	Propagation []Guard[*Adopting]
	DropAnchor  []Guard[*Case]
}

// Standard are the rules of the product. docs/rotation.md has them as a table.
func Standard() *Rules {
	return &Rules{
		Trust: []Verifier{
			{Name: "the clients' ConfigMap holds its anchor", Distrusts: clientsDistrust},
			{Name: "all material holds its anchor", Distrusts: materialDistrusts},
			{Name: podsVerifier, Distrusts: podsDistrust},
		},
		Propagation: []Guard[*Adopting]{
			{Name: "clients had the time to take its anchor", Open: propagated},
		},
		DropAnchor: []Guard[*Case]{
			{Name: "nothing that is published needs the anchor", Open: notPublished},
			{Name: "every pod is settled", Open: podsSettled},
			{Name: "no session came in with a certificate that it vouches for", Open: noSessions},
		},
	}
}

// Outcome is what becomes of external anchors.
type Outcome struct {
	Lanes       []plan.Lane
	Transitions []plan.Step
	Gate        plan.Gate
}

// Admitted returns the fingerprints of the external anchors that every bundle of a domain is to hold.
func Admitted(o *facts.Observed, state *revocation.State) (anchors plan.PerDomain[[]string]) {
	for i := range o.External {
		if a := &o.External[i]; (a.Admitted || a.Wanted) && !state.Withheld(o, a) {
			anchors.Set(a.Domain, append(anchors.Of(a.Domain), a.Fingerprint))
		}
	}
	return anchors
}

// Decide keeps the record of external anchors.
func (r *Rules) Decide(policy *facts.Policy, o *facts.Observed, state *revocation.State) (out Outcome) {
	for i := range o.External {
		a := &o.External[i]
		switch {
		case a.Wanted && state.Withheld(o, a):
			out.Gate = out.Gate.And(plan.Shut(plan.Block(revocation.AnchorName(a), reason.CRLMissing, "%s is to be trusted for client certificates, and its revocation list is not known: PostgreSQL checks such lists while a certificate of an application "+
				"is revoked, and would refuse the clients of every other authority; the anchor waits until that has ended", a.Subject)))
		case a.Wanted && (!a.Admitted || !a.UnusedSince.IsZero()):
			out.Lanes = append(out.Lanes, lane(a, plan.AdmitAnchor{AnchorStep: about(a, reason.Wanted)}))
		case a.Admitted && !a.Wanted && !a.Held:
			r.drop(policy, o, a, &out)
		}
	}
	return out
}

func lane(a *facts.Anchor, s plan.Step) plan.Lane {
	return plan.Lane{Of: revocation.AnchorName(a), Steps: []plan.Step{s}}
}

func about(a *facts.Anchor, why reason.Code) plan.AnchorStep {
	return plan.AnchorStep{Domain: a.Domain, Anchor: a.Fingerprint, Subject: a.Subject, Reason: why}
}

// drop lets go of an external anchor.
func (r *Rules) drop(policy *facts.Policy, o *facts.Observed, a *facts.Anchor, out *Outcome) {
	step := plan.DropAnchor{AnchorStep: about(a, reason.Unused)}
	if !o.Now.Before(a.NotAfter) { // no verifier accepts anything for its sake any more
		out.Transitions = append(out.Transitions, step)
		return
	}
	out.Gate = out.Gate.Until(a.NotAfter)
	gate := r.unused(&Case{o, a})
	if !gate.Closed && a.UnusedSince.IsZero() {
		out.Lanes = append(out.Lanes, lane(a, plan.NoteUnused{AnchorStep: about(a, reason.Unused)}))
		return
	}
	if !gate.Closed {
		gate = soaked(policy, o.Now, a)
	}
	out.Gate = out.Gate.And(gate)
	if !gate.Closed {
		out.Transitions = append(out.Transitions, step)
	}
}

func (r *Rules) unused(c *Case) (gate plan.Gate) {
	for i := range r.DropAnchor {
		if gate = gate.And(r.DropAnchor[i].Open(c)); gate.Closed {
			return gate
		}
	}
	return gate
}

func soaked(policy *facts.Policy, now time.Time, a *facts.Anchor) plan.Gate {
	name, until := revocation.AnchorName(a), a.UnusedSince.Add(policy.RetireSoak)
	switch {
	case slices.Contains(policy.ApprovedAnchors, name):
		return plan.Gate{}
	case policy.RetireManual:
		return plan.Shut(plan.Block(name, reason.AwaitingApproval, "nothing presents what %s issued any more: set the annotation pgtls.dev/retire-approved to %s to drop it from every bundle", a.Subject, name))
	case now.Before(until):
		return plan.Shut(plan.Block(name, reason.AwaitingSoak, "nothing presents what %s issued any more; it stays trusted until %s (spec.tls.rotation.retireSoak)", a.Subject, until.UTC().Format(time.RFC3339))).Until(until)
	}
	return plan.Gate{}
}

// own visits the parties whose material is the cluster's.
func own(o *facts.Observed, holds func(*facts.Party) bool) plan.Gate {
	for i := range o.Parties {
		if p := &o.Parties[i]; p.Material.State != facts.Foreign && !holds(p) {
			return plan.When(false)
		}
	}
	return plan.Gate{}
}

func notPublished(c *Case) plan.Gate {
	return own(c.Observed, func(p *facts.Party) bool {
		custom := p.Material.Custom(c.Anchor.Domain)
		return served.Sound(p) && (custom == nil || !slices.Contains(custom.Anchors, c.Anchor.Fingerprint))
	})
}

func podsSettled(c *Case) plan.Gate {
	return own(c.Observed, func(p *facts.Party) bool {
		for i := range p.Pods {
			if !served.Settled(p, &p.Pods[i]) {
				return false
			}
		}
		return true
	})
}

// noSessions: a session shows the issuer of its certificate and not the anchor of its chain: an issuer that is not known itself
// may be one of this anchor's.
func noSessions(c *Case) (gate plan.Gate) {
	if c.Anchor.Domain != facts.Client {
		return gate
	}
	for i := range c.Observed.Parties {
		p := &c.Observed.Parties[i]
		for j := range p.Pods {
			if p.Kind.AuthenticatesClients && p.Material.State != facts.Foreign {
				gate = gate.And(sessionsGone(c, &p.Pods[j]))
			}
		}
	}
	return gate
}

func sessionsGone(c *Case, pod *facts.Pod) plan.Gate {
	a := c.Anchor
	if !pod.SessionsKnown {
		return plan.Shut(plan.Block(pod.Name, reason.SessionsUnknown, "the sessions of pod %s could not be read, and some may have come with a certificate that %s issued", pod.Name, a.Subject))
	}
	for _, s := range pod.Sessions {
		placed := slices.ContainsFunc(c.Observed.External, func(b facts.Anchor) bool { return b.Domain == a.Domain && b.Subject == s.Issuer })
		if s.Generation == 0 && (s.Issuer == a.Subject || !placed) {
			return plan.Shut(plan.Block(pod.Name, reason.StillInUse, "user %s is connected to pod %s from %s with a certificate that %s issued, which is to be trusted no longer: issue a new certificate and reconnect",
				s.User, pod.Name, s.Address, s.Issuer))
		}
	}
	return plan.Gate{}
}

// anchorsOf are the anchors of a custom certificate, or of the own leaf.
func anchorsOf(sets *rekey.Sets, p *facts.Party, c *facts.Custom) []string {
	if c != nil {
		return c.Anchors
	}
	leaf, set := p.Leaf(facts.Server), sets.Of(facts.Server)
	if leaf == nil || set == nil {
		return nil
	}
	if issuer, _ := set.Issuer(leaf); issuer != nil {
		return []string{issuer.Certificate.Fingerprint}
	}
	return nil
}
