package rekey

import (
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/window"
)

// situation is what is known of one domain. It answers questions and changes nothing.
type situation struct {
	*CASet
	rules       *Rules
	policy      *facts.Policy
	rekeyPolicy facts.RekeyPolicy // of the domain
	observed    *facts.Observed
	state       *revocation.State
	sets        *Sets
	calendar    *window.Calendar
	pending     bool // the other domain is about to take a transition
}

// about makes the case of a transition.
func (s *situation) about(subject *facts.Authority) *Case {
	return &Case{Policy: s.policy, Observed: s.observed, Revocation: s.state, Sets: s.sets, Set: s.CASet, Subject: subject, Pending: s.pending}
}

// newestUnusable returns the highest generation that is not to be dropped and cannot sign; nil: none.
func (s *situation) newestUnusable() (newest *facts.Authority) {
	for i := range s.observed.Authorities {
		a := &s.observed.Authorities[i]
		if a.Domain == s.Domain && !retired(s.observed, a) && !slices.Contains(s.Retired, a) && !a.Usable(s.observed.Now) && (newest == nil || a.Generation > newest.Generation) {
			newest = a
		}
	}
	return newest
}

// rekeyReason says why the domain's authority is to be replaced, "" if it is not, and then when it will be due (zero: never).
func (s *situation) rekeyReason() (why reason.Code, at time.Time) {
	want := s.policy.Authorities[s.Domain]
	switch {
	case s.rekeyPolicy.Tainted == s.Active.Generation:
		return reason.Tainted, time.Time{}
	case s.rekeyPolicy.Request != "" && s.rekeyPolicy.Request != s.Active.Answered:
		return reason.Requested, time.Time{}
	case want.Algorithm != "" && want.Algorithm != s.Active.Certificate.Algorithm && s.Active.Certificate.Algorithm != "":
		return reason.KeyAlgorithmChanged, time.Time{}
	case want.RenewBefore <= 0:
		return "", time.Time{}
	}
	c := s.Active.Certificate
	at = pki.RenewalTime(c.NotBefore, c.NotAfter, want.RenewBefore, s.Active.Name())
	if s.observed.Now.Before(at) {
		return "", at
	}
	return reason.Due, time.Time{}
}

// isUrgent reports whether the re-key of a domain that is under way waits for no window: the user asked for it, or the
// authority that it replaces is of no use. It is derived from what stands on the Secrets, like everything about a re-key.
func (s *situation) isUrgent() bool {
	from, to := s.Active, s.Next
	if to == nil && len(s.Retiring) > 0 {
		from, to = s.Retiring[0], s.Active
	}
	if from == nil || to == nil {
		return false
	}
	asked := to.Answered != "" && to.Answered != from.Answered || s.rekeyPolicy.Request != "" && s.rekeyPolicy.Request != to.Answered
	back := from.Generation > to.Generation
	return asked || back || s.rekeyPolicy.Tainted == from.Generation || !from.Usable(s.observed.Now)
}

// predecessor returns the newest older generation that could be active again; nil if there is none.
func (s *situation) predecessor() (found *facts.Authority) {
	for _, a := range slices.Concat(s.Retired, s.Retiring) {
		if a.Generation < s.Active.Generation && a.Usable(s.observed.Now) && open(s.rules.RollBack, s.about(a)) {
			found = a
		}
	}
	return found
}

// at describes a re-key that has come to a phase.
func (s *situation) at(phase plan.Phase, to *facts.Authority) plan.Rekey {
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
			r.AffectedClients = s.affected(from)
			break
		}
	}
	return r
}

// affected says which clients are refused because nothing leads from the old authority to the new one; "" when none is.
func (s *situation) affected(from *facts.Authority) string {
	why := ""
	switch {
	case s.rekeyPolicy.Tainted == from.Generation:
		why = "must not be trusted"
	case from.Expired(s.observed.Now):
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
