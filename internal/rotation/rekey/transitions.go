package rekey

import (
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

func (e *engine) authority(s *CASet) {
	stored := e.keepAll(s)
	switch {
	case s.Active != nil:
		e.wakeAt(s.Active.Certificate.NotAfter)
		e.rekey(s)
	case !stored && s.highest == 0:
		e.out.Lanes = append(e.out.Lanes, plan.Lane{Of: facts.AuthorityName(s.Domain, 1),
			Steps: []plan.Step{plan.CreateAuthority{Domain: s.Domain, Generation: 1, Reason: reason.FirstGeneration}}})
	default:
		e.withoutActive(s)
	}
}

// keepAll keeps each generation that is to be trusted, and tells whether anything is stored.
func (e *engine) keepAll(s *CASet) (stored bool) {
	for i := range e.observed.Authorities {
		a := &e.observed.Authorities[i]
		if a.Domain != s.Domain {
			continue
		}
		stored = true
		if !slices.Contains(s.Retired, a) && !retired(e.observed, a) {
			e.keep(a)
		}
	}
	return stored
}

// keep stores an authority again where one of its two Secrets is gone. One that is being deleted, and that a finalizer of another
// program holds, comes back when it has gone. What cannot be read is never copied.
func (e *engine) keep(a *facts.Authority) {
	if a.Problem != "" || !a.Original.Present && !a.Copy.Present && !a.Remembered {
		return
	}
	restore := plan.RestoreAuthority{Domain: a.Domain, Generation: a.Generation, Reason: reason.SecretMissing}
	if !a.Original.Present {
		e.out.Keep = append(e.out.Keep, restore)
	}
	if !a.Copy.Present {
		restore.Copy = true
		e.out.Keep = append(e.out.Keep, restore)
	}
}

// withoutActive says why nothing can be signed, and replaces an authority that never will sign again.
func (e *engine) withoutActive(s *CASet) {
	broken := e.newest(s)
	if broken == nil || s.lost {
		seen := max(e.observed.GenerationSeen[s.Domain], 1)
		e.block(facts.AuthorityName(s.Domain, seen), reason.AuthorityLost, "generation %d of the %s authority is in use and its Secret is gone: "+
			"what is served goes on being served, nothing new is signed; restore the Secret from a backup", seen, s.Domain)
		return
	}
	c, why := broken.Certificate, broken.Problem
	switch {
	case broken.Problem != "":
		e.block(broken.Name(), broken.Problem, "%s", broken.Message)
	case e.observed.Now.Before(c.NotBefore):
		e.block(broken.Name(), reason.AuthorityNotYetValid, "the %s authority g%d is valid from %s on: a clock is wrong, the operator's now or the one that made it",
			s.Domain, broken.Generation, c.NotBefore.Format(time.RFC3339))
		e.wakeAt(c.NotBefore)
		return
	default:
		why = reason.AuthorityExpired
		e.block(broken.Name(), reason.AuthorityExpired, "the %s authority g%d expired on %s and can sign nothing any more",
			s.Domain, broken.Generation, c.NotAfter.Format(time.RFC3339))
	}
	switch {
	case s.Next != nil:
		e.switchSigner(s)
	case len(s.Issuers) > 0 && broken.Problem != reason.AuthorityForeign:
		// What is in use stays trusted: its certificate is known. Its leaves are replaced once the new one is trusted too.
		e.transition(plan.TrustNew{Domain: s.Domain, Generation: s.highest + 1, Reason: why, Message: e.affected(s, broken)})
	}
}

// newest returns the highest generation that is not to be dropped and cannot sign; nil: none.
func (e *engine) newest(s *CASet) (newest *facts.Authority) {
	for i := range e.observed.Authorities {
		a := &e.observed.Authorities[i]
		if a.Domain == s.Domain && !retired(e.observed, a) && !slices.Contains(s.Retired, a) && !a.Usable(e.observed.Now) && (newest == nil || a.Generation > newest.Generation) {
			newest = a
		}
	}
	return newest
}

// rekey moves a domain's re-key on by one transition, or begins one.
func (e *engine) rekey(s *CASet) {
	policy := e.policy.Rekey[s.Domain]
	s.Urgent = e.isUrgent(s, policy)
	switch {
	case e.rollBack(s, policy):
	case s.Next != nil && policy.Tainted == s.Next.Generation: // it is never active
		e.transition(plan.RollBack{Domain: s.Domain, Generation: s.Next.Generation, To: s.Active.Generation, Reason: reason.Tainted})
	case s.Next != nil:
		e.switchSigner(s)
	case len(s.Retiring) > 0:
		e.dropOld(s)
	case len(s.Retired) > 0:
		e.discard(s)
	default:
		e.begin(s, policy)
	}
}

// begin makes a new generation when there is reason to, and nothing else is being re-keyed.
func (e *engine) begin(s *CASet, policy facts.RekeyPolicy) {
	why := e.rekeyReason(s, policy)
	if why == "" {
		return
	}
	step := plan.TrustNew{Domain: s.Domain, Generation: s.highest + 1, Reason: why, Active: s.Active.Generation, Bridged: why != reason.Tainted, Message: e.affected(s, s.Active)}
	c := e.about(s, s.Active)
	c.Reason = why
	switch {
	case why == reason.Tainted: // an emergency waits for nothing
	case why != reason.Requested && e.waits(s, step, s.Active.Name(), false):
		return
	default:
		if gate, _ := first(e.rules.TrustNew, c); e.closed(gate) {
			return
		}
	}
	e.transition(step)
}

// rekeyReason says why a domain's authority is to be replaced, "" if it is not.
func (e *engine) rekeyReason(s *CASet, policy facts.RekeyPolicy) reason.Code {
	want := e.policy.Authorities[s.Domain]
	switch {
	case policy.Tainted == s.Active.Generation:
		return reason.Tainted
	case policy.Request != "" && policy.Request != s.Active.Answered:
		return reason.Requested
	case want.Algorithm != "" && want.Algorithm != s.Active.Certificate.Algorithm && s.Active.Certificate.Algorithm != "":
		return reason.KeyAlgorithmChanged
	case want.RenewBefore <= 0:
		return ""
	}
	c := s.Active.Certificate
	at := pki.RenewalTime(c.NotBefore, c.NotAfter, want.RenewBefore, s.Active.Name())
	if e.observed.Now.Before(at) {
		e.wakeAt(at)
		return ""
	}
	return reason.Due
}

// waits reports whether a transition of a planned re-key is not taken now, and says so.
func (e *engine) waits(s *CASet, step plan.Step, about string, underway bool) bool {
	if !e.policy.Restricted() || s.Active == nil || s.Urgent {
		return false
	}
	s.Waits = e.closed(e.calendar.Transition(step, about, s.Active, underway))
	return s.Waits
}

// isUrgent reports whether the re-key of a domain that is under way waits for no window: the user asked for it, or the
// authority that it replaces is of no use. It is derived from what stands on the Secrets, like everything about a re-key.
func (e *engine) isUrgent(s *CASet, policy facts.RekeyPolicy) bool {
	from, to := s.Active, s.Next
	if to == nil && len(s.Retiring) > 0 {
		from, to = s.Retiring[0], s.Active
	}
	if from == nil || to == nil {
		return false
	}
	asked := to.Answered != "" && to.Answered != from.Answered || policy.Request != "" && policy.Request != to.Answered
	back := from.Generation > to.Generation
	return asked || back || policy.Tainted == from.Generation || !from.Usable(e.observed.Now)
}

// switchSigner has the new authority sign once every verifier is known to have loaded it.
func (e *engine) switchSigner(s *CASet) {
	e.phase(s, plan.Preparing, s.Next)
	step := plan.SwitchSigner{Domain: s.Domain, Generation: s.Next.Generation, Reason: reason.Trusted}
	if gate, _ := first(e.rules.SwitchSigner, e.about(s, s.Next)); e.closed(gate) || e.waits(s, step, s.Next.Name(), true) {
		return
	}
	e.transition(step)
}

// dropOld lets go of an authority that nothing uses any more.
func (e *engine) dropOld(s *CASet) {
	old := s.Retiring[0]
	c := e.about(s, old)
	if c.rollingBack() {
		e.phase(s, plan.RollingBack, old)
	} else {
		e.phase(s, plan.Reissuing, s.Active)
	}
	gate, phase := first(e.rules.DropOld, c)
	if e.closed(gate) {
		if phase != "" && !c.rollingBack() {
			e.phase(s, phase, s.Active)
		}
		return
	}
	step := plan.DropOld{Domain: s.Domain, Generation: old.Generation, Active: s.Active.Generation, Reason: reason.Unused}
	if !c.emergency() && !c.approved() && e.waits(s, step, old.Name(), true) {
		e.phase(s, plan.Soaking, s.Active)
		return
	}
	e.transition(step)
}

// discard deletes an authority that no bundle holds any more.
func (e *engine) discard(s *CASet) {
	old := s.Retired[0]
	e.phase(s, plan.Retiring, s.Active)
	if gate, _ := first(e.rules.DiscardAuthority, e.about(s, old)); e.closed(gate) {
		return
	}
	e.transition(plan.DiscardAuthority{Domain: s.Domain, Generation: old.Generation, Reason: reason.UntrustedNow})
}

// phase notes how far a domain's re-key has come; a later note replaces an earlier one.
func (e *engine) phase(s *CASet, phase plan.Phase, to *facts.Authority) {
	r := plan.Rekey{Domain: s.Domain, Phase: phase}
	if to != nil {
		r.To = to.Generation
	}
	switch {
	case phase == plan.Preparing && s.Active != nil:
		r.From = s.Active.Generation
	case phase == plan.RollingBack:
		r.From, r.To = to.Generation, s.Active.Generation
	case len(s.Retiring) > 0 && s.Retiring[0] != to:
		r.From = s.Retiring[0].Generation
	case len(s.Retired) > 0:
		r.From = s.Retired[0].Generation
	}
	for _, from := range slices.Concat(s.Retiring, s.Retired) {
		if from.Generation == r.From && phase != plan.RollingBack {
			r.AffectedClients = e.affected(s, from)
			break
		}
	}
	e.out.Rekeys = slices.DeleteFunc(e.out.Rekeys, func(r plan.Rekey) bool { return r.Domain == s.Domain })
	e.out.Rekeys = append(e.out.Rekeys, r)
}

// affected says which clients are refused because nothing leads from the old authority to the new one; "" when none is.
func (e *engine) affected(s *CASet, from *facts.Authority) string {
	why := ""
	switch {
	case e.policy.Rekey[s.Domain].Tainted == from.Generation:
		why = "must not be trusted"
	case from.Expired(e.observed.Now):
		why = "has expired"
	case from.Problem != "":
		why = "has lost its key"
	default:
		return ""
	}
	if s.Domain == facts.Client {
		return fmt.Sprintf("client g%d %s: applications with certificates of it are refused until they have new ones", from.Generation, why)
	}
	return fmt.Sprintf("server g%d %s: clients that copied its certificate are refused until they are given what the ConfigMap holds", from.Generation, why)
}

// Resting are the active authorities that are not being re-keyed and whose next re-key does not wait.
func (s *Sets) Resting() (resting []*facts.Authority) {
	for _, set := range s.all() {
		if set.Active != nil && !set.Rekeying() && !set.Waits {
			resting = append(resting, set.Active)
		}
	}
	return resting
}
