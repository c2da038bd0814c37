package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// --- rounds -----------------------------------------------------------------

// round observes, decides, executes the first steps of the plan and lets the
// agents work. Every step is checked against a fresh observation, as the
// operator does before each write.
func (w *world) round(steps int) (plan.Plan, error) {
	planned, err := Next(w.policy, w.observe())
	if err != nil {
		return planned, err
	}
	w.trouble.forget(&planned)
	return planned, w.run(planned, steps)
}

// run executes the first steps of a plan: all of Keep, then every lane, then the transition. The first error in a lane ends that
// lane alone, and nothing else.
func (w *world) run(planned plan.Plan, steps int) error {
	defer w.agents()
	var failed []error
	take := func(steps *int, lane []plan.Step) {
		for _, s := range lane {
			if *steps == 0 {
				return
			}
			*steps--
			if err := w.checked(s); errors.Is(err, errStepFails) {
				return
			} else if err != nil {
				failed = append(failed, err)
				return
			}
		}
	}
	for i := range planned.Keep {
		take(&steps, planned.Keep[i:i+1])
	}
	for i := range planned.Lanes {
		take(&steps, planned.Lanes[i].Steps)
	}
	if planned.Transition != nil {
		take(&steps, []plan.Step{planned.Transition})
	}
	return errors.Join(failed...)
}

// checked executes one step that every invariant allows.
func (w *world) checked(s plan.Step) error {
	fresh := w.observe()
	if activate, is := s.(plan.Activate); is && activate.Revision == "" {
		activate.Revision = w.member(activate.Party).secret.Revision
		s = activate
	}
	if v := invariant.Check(&fresh, s); v != nil && !w.unchecked {
		return fmt.Errorf("executing %s: %w", s, v)
	}
	if w.trouble.strikes(w.now, s) {
		return errStepFails
	}
	if err := w.execute(s); err != nil {
		return fmt.Errorf("executing %s: %w", s, err)
	}
	w.looked()
	return nil
}

const all = 1 << 20

// rest runs rounds until a plan has no step, and counts them.
func (w *world) rest(limit int) (plan.Plan, int, error) {
	for n := range limit {
		planned, err := w.round(all)
		if err != nil || planned.Empty() {
			return planned, n, err
		}
	}
	return plan.Plan{}, limit, fmt.Errorf("no rest after %d rounds; the last steps were\n%s",
		limit, strings.Join(w.log[max(0, len(w.log)-20):], "\n"))
}

// roundsToRest is the small linear bound of BoundedProgress. A sweep brings one change to every party: two rounds for each pod (ask,
// prove), one for each Secret, and some for both authorities. How many sweeps there can be before time has to pass:
//
//   - one for what is published and activated in any case;
//   - for each domain three of a re-key (trust, reissue, drop), twice: the one under way, and the one that was asked for meanwhile;
//   - for each external anchor two, when it is admitted and when it is dropped (with a soak of 0 both in one rest);
//   - for each place for a custom certificate two: what is presented now ends, and another one takes its place.
func (w *world) roundsToRest() int {
	sweep := 12 + len(w.members)
	for _, m := range w.members {
		sweep += 2 * len(m.pods)
	}
	sweeps := 1 + 2*len(w.external()) + 2*len(w.sources)
	if w.mayRekey(facts.Server) || w.mayRekey(facts.Client) {
		sweeps += 2 * 3 * 2
	}
	return sweep * sweeps
}

// mayRekey reports whether a domain's authority is being re-keyed, or there may be a reason to.
func (w *world) mayRekey(domain facts.Domain) bool {
	unusable := func(a *storedAuthority) bool {
		return a.problem != "" || !a.stored() && !a.remembered || !w.now.Before(a.certificate.NotAfter)
	}
	return len(w.policy.Rekey) > 0 || len(w.newer[domain]) > 0 || w.policy.Authorities[domain].RenewBefore > 0 || slices.ContainsFunc(w.generations(domain), unusable)
}

// live lets time pass until an instant: the operator sleeps exactly until the
// plan's Wake, the agents look at their clocks every hour.
func (w *world) live(until time.Time) error {
	for w.now.Before(until) {
		w.forgetFailures()
		planned, _, err := w.rest(w.roundsToRest())
		if err != nil {
			return err
		}
		wake := until
		if planned.Wake.After(w.now) && planned.Wake.Before(until) {
			wake = planned.Wake
		}
		for w.now.Before(wake) {
			w.now = w.now.Add(min(time.Hour, wake.Sub(w.now)))
			w.agents()
		}
	}
	w.forgetFailures()
	_, _, err := w.rest(w.roundsToRest())
	return err
}
