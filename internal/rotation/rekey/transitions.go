package rekey

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// decision on the authorities of one domain: a method for each transition that may be taken.
type decision struct {
	situation
	*record
}

func (d *decision) authority() {
	keep, stored := restores(d.observed, d.CASet)
	d.Keep = append(d.Keep, keep...)
	switch {
	case d.Active != nil:
		d.wakeAt(d.Active.Certificate.NotAfter)
		d.rekey()
	case !stored && d.highest == 0:
		d.Lanes = append(d.Lanes, plan.Lane{Of: facts.AuthorityName(d.Domain, 1),
			Steps: []plan.Step{plan.CreateAuthority{Domain: d.Domain, Generation: 1, Reason: reason.FirstGeneration}}})
	default:
		d.withoutActive()
	}
}

// restores store again each generation that is to be trusted and is not whole, and tell whether any is stored.
func restores(o *facts.Observed, s *CASet) (steps []plan.Step, stored bool) {
	for i := range o.Authorities {
		a := &o.Authorities[i]
		if a.Domain != s.Domain {
			continue
		}
		stored = true
		if !slices.Contains(s.Retired, a) && !retired(o, a) {
			steps = appendRestore(steps, a)
		}
	}
	return steps, stored
}

// appendRestore stores an authority again where one of its two Secrets is gone. One that is being deleted, and that a finalizer of
// another program holds, comes back when it has gone. What cannot be read is never copied.
func appendRestore(steps []plan.Step, a *facts.Authority) []plan.Step {
	if a.Problem != "" || !a.Original.Present && !a.Copy.Present && !a.Remembered {
		return steps
	}
	restore := plan.RestoreAuthority{Domain: a.Domain, Generation: a.Generation, Reason: reason.SecretMissing}
	if !a.Original.Present {
		steps = append(steps, restore)
	}
	if !a.Copy.Present {
		restore.Copy = true
		steps = append(steps, restore)
	}
	return steps
}

// withoutActive says why nothing can be signed, and replaces an authority that never will sign again.
func (d *decision) withoutActive() {
	broken := d.newestUnusable()
	if broken == nil || d.lost {
		seen := max(d.observed.GenerationSeen[d.Domain], 1)
		d.block(facts.AuthorityName(d.Domain, seen), reason.AuthorityLost, "generation %d of the %s authority is in use and its Secret is gone: "+
			"what is served goes on being served, nothing new is signed; restore the Secret from a backup", seen, d.Domain)
		return
	}
	c, why := broken.Certificate, broken.Problem
	switch {
	case broken.Problem != "":
		d.block(broken.Name(), broken.Problem, "%s", broken.Message)
	case d.observed.Now.Before(c.NotBefore):
		d.block(broken.Name(), reason.AuthorityNotYetValid, "the %s authority g%d is valid from %s on: a clock is wrong, the operator's now or the one that made it",
			d.Domain, broken.Generation, c.NotBefore.Format(time.RFC3339))
		d.wakeAt(c.NotBefore)
		return
	default:
		why = reason.AuthorityExpired
		d.block(broken.Name(), reason.AuthorityExpired, "the %s authority g%d expired on %s and can sign nothing any more",
			d.Domain, broken.Generation, c.NotAfter.Format(time.RFC3339))
	}
	switch {
	case d.Next != nil:
		d.switchSigner()
	case len(d.Issuers) > 0 && broken.Problem != reason.AuthorityForeign:
		// What is in use stays trusted: its certificate is known. Its leaves are replaced once the new one is trusted too.
		d.transition(plan.TrustNew{Domain: d.Domain, Generation: d.highest + 1, Reason: why, Message: d.affected(broken)})
	}
}

// rekey moves a domain's re-key on by one transition, or begins one.
func (d *decision) rekey() {
	d.Urgent = d.isUrgent()
	switch {
	case d.rollBack():
	case d.Next != nil && d.rekeyPolicy.Tainted == d.Next.Generation: // it is never active
		d.transition(plan.RollBack{Domain: d.Domain, Generation: d.Next.Generation, To: d.Active.Generation, Reason: reason.Tainted})
	case d.Next != nil:
		d.switchSigner()
	case len(d.Retiring) > 0:
		d.dropOld()
	case len(d.Retired) > 0:
		d.discard()
	default:
		d.begin()
	}
}

// begin makes a new generation when there is reason to, and nothing else is being re-keyed.
func (d *decision) begin() {
	why, at := d.rekeyReason()
	d.wakeAt(at)
	if why == "" {
		return
	}
	step := plan.TrustNew{Domain: d.Domain, Generation: d.highest + 1, Reason: why, Active: d.Active.Generation, Bridged: why != reason.Tainted, Message: d.affected(d.Active)}
	c := d.about(d.Active)
	c.Reason = why
	switch {
	case why == reason.Tainted: // an emergency waits for nothing
	case why != reason.Requested && d.waits(step, d.Active.Name(), false):
		return
	default:
		if gate, _ := first(d.rules.TrustNew, c); d.closed(gate) {
			return
		}
	}
	d.transition(step)
}

// waits reports whether a transition of a planned re-key is not taken now, and says so.
func (d *decision) waits(step plan.Step, about string, underway bool) bool {
	if !d.policy.Restricted() || d.Active == nil || d.Urgent {
		return false
	}
	d.Waits = d.closed(d.calendar.Transition(step, about, d.Active, underway))
	return d.Waits
}

// switchSigner has the new authority sign once every verifier is known to have loaded it.
func (d *decision) switchSigner() {
	d.progress(d.at(plan.Preparing, d.Next))
	step := plan.SwitchSigner{Domain: d.Domain, Generation: d.Next.Generation, Reason: reason.Trusted}
	if gate, _ := first(d.rules.SwitchSigner, d.about(d.Next)); d.closed(gate) || d.waits(step, d.Next.Name(), true) {
		return
	}
	d.transition(step)
}

// dropOld lets go of an authority that nothing uses any more.
func (d *decision) dropOld() {
	old := d.Retiring[0]
	c := d.about(old)
	if c.rollingBack() {
		d.progress(d.at(plan.RollingBack, old))
	} else {
		d.progress(d.at(plan.Reissuing, d.Active))
	}
	gate, phase := first(d.rules.DropOld, c)
	if d.closed(gate) {
		if phase != "" && !c.rollingBack() {
			d.progress(d.at(phase, d.Active))
		}
		return
	}
	step := plan.DropOld{Domain: d.Domain, Generation: old.Generation, Active: d.Active.Generation, Reason: reason.Unused}
	if !c.emergency() && !c.approved() && d.waits(step, old.Name(), true) {
		d.progress(d.at(plan.Soaking, d.Active))
		return
	}
	d.transition(step)
}

// discard deletes an authority that no bundle holds any more.
func (d *decision) discard() {
	old := d.Retired[0]
	d.progress(d.at(plan.Retiring, d.Active))
	if gate, _ := first(d.rules.DiscardAuthority, d.about(old)); d.closed(gate) {
		return
	}
	d.transition(plan.DiscardAuthority{Domain: d.Domain, Generation: old.Generation, Reason: reason.UntrustedNow})
}
