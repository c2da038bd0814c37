package rekey

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/window"
)

// Outcome is what becomes of the authorities.
type Outcome struct {
	Keep []plan.Step
	// Lanes make the first generation of a domain.
	Lanes []plan.Lane
	// Transitions that may be taken now, one for each domain at most. They exclude each other.
	Transitions []plan.Step
	Rekeys      []plan.Rekey
	Blockers    []plan.Blocker
	Wake        time.Time
}

// Decide keeps what is stored, makes a first authority where there never was one, and moves each domain's re-key on.
func (r *Rules) Decide(policy *facts.Policy, o *facts.Observed, state *revocation.State, sets *Sets, calendar *window.Calendar) Outcome {
	out := record{now: o.Now}
	for _, set := range sets.all() {
		d := decision{
			situation: situation{
				CASet: set, rules: r, policy: policy, rekeyPolicy: policy.Rekey[set.Domain], observed: o, state: state, sets: sets,
				calendar: calendar, pending: out.pending(o),
			},
			record: &out,
		}
		d.wakeAt(set.wake)
		d.authority()
	}
	return out.Outcome
}

// record collects an outcome.
type record struct {
	Outcome
	now time.Time
}

// closed adds the blockers of a gate, and reports whether it is closed.
func (r *record) closed(g plan.Gate) bool {
	r.Blockers = append(r.Blockers, g.Blockers...)
	r.wakeAt(g.Wake)
	return g.Closed
}

func (r *record) wakeAt(t time.Time) {
	if t.After(r.now) {
		r.Wake = plan.Sooner(r.Wake, t)
	}
}

func (r *record) block(party string, code reason.Code, format string, args ...any) {
	r.Blockers = append(r.Blockers, plan.Block(party, code, format, args...))
}

func (r *record) transition(s plan.Step) { r.Transitions = append(r.Transitions, s) }

// pending reports whether a domain that was decided on before is about to take a transition.
func (r *record) pending(o *facts.Observed) bool {
	return slices.ContainsFunc(r.Transitions, func(t plan.Step) bool { return plan.Held(o, t) == nil })
}

// progress notes how far a domain's re-key has come; a later note replaces an earlier one.
func (r *record) progress(rekey plan.Rekey) {
	r.Rekeys = slices.DeleteFunc(r.Rekeys, func(earlier plan.Rekey) bool { return earlier.Domain == rekey.Domain })
	r.Rekeys = append(r.Rekeys, rekey)
}
