package rotation

import (
	"errors"
	"slices"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Steps that fail in the simulated cluster, and what the executor remembers of that.

// errStepFails ends a lane: it is no fault of the decision.
var errStepFails = errors.New("this step fails")

// troubles are the steps that fail, and those that did.
type troubles struct {
	fails    func(plan.Step) bool
	longest  time.Duration // between two tries; the executor takes 30 s
	failures []facts.Failure
	tries    map[string][]time.Time
}

// fails makes steps fail from now on.
func fails(these func(plan.Step) bool) fact {
	return func(w *world) {
		w.trouble = &troubles{fails: these, longest: 30 * time.Second, tries: map[string][]time.Time{}}
	}
}

// succeeds ends the cause of every failure.
func succeeds(w *world) { w.trouble.fails = func(plan.Step) bool { return false } }

// observe returns what the executor remembers.
func (t *troubles) observe() []facts.Failure {
	if t == nil {
		return nil
	}
	return slices.Clone(t.failures)
}

// strikes reports whether a step fails, and remembers that with growing pauses, from a second on.
func (t *troubles) strikes(now time.Time, s plan.Step) bool {
	if t == nil {
		return false
	}
	i := slices.IndexFunc(t.failures, func(f facts.Failure) bool { return f.Step == s.Key() })
	if !t.fails(s) {
		if i >= 0 {
			t.failures = slices.Delete(t.failures, i, i+1)
			delete(t.tries, s.Key())
		}
		return false
	}
	if i < 0 {
		i = len(t.failures)
		t.failures = append(t.failures, facts.Failure{Step: s.Key(), Object: "the object of " + s.Key(), Cause: "QuotaExceeded",
			Message: "QuotaExceeded: no more objects may be created: raise the ResourceQuota"})
	}
	t.tries[s.Key()] = append(t.tries[s.Key()], now)
	pause := time.Second << min(len(t.tries[s.Key()])-1, 20)
	t.failures[i].RetryAt = now.Add(min(pause, t.longest))
	return true
}

// forget drops what a plan waits for no longer.
func (t *troubles) forget(planned *plan.Plan) {
	if t == nil {
		return
	}
	t.failures = slices.DeleteFunc(t.failures, func(f facts.Failure) bool { return !names(planned, &f) })
}

// names reports whether a plan waits for a step that failed, and says which object and why.
func names(planned *plan.Plan, f *facts.Failure) bool {
	return slices.ContainsFunc(planned.Blockers, func(b plan.Blocker) bool {
		return b.Reason == reason.StepFailed && b.Party == f.Object && strings.Contains(b.Message, f.Step) && strings.Contains(b.Message, f.Message)
	})
}

// ofKey makes one step of one object fail, ofOp one kind of step, ofParty every step for one party.
func ofKey(key string) func(plan.Step) bool { return func(s plan.Step) bool { return s.Key() == key } }
func ofOp(op string) func(plan.Step) bool   { return func(s plan.Step) bool { return s.Op() == op } }
func ofParty(name string) func(plan.Step) bool {
	return func(s plan.Step) bool { return partyOf(s) == name }
}

// verbs are what the API server may deny: the kinds of steps that need it.
var verbs = map[string][]string{
	"create":    {"CreateAuthority", "TrustNew", "RestoreAuthority"},
	"update":    {"Publish", "PublishTrust", "SwitchSigner", "RollBack", "DropOld", "Revoke", "AdmitAnchor", "NoteUnused", "DropAnchor", "TakeBack"},
	"delete":    {"Discard", "DiscardAuthority"},
	"patch":     {"Activate", "Retrigger"},
	"handshake": {"Prove"},
}

func ofVerb(verb string) func(plan.Step) bool {
	return func(s plan.Step) bool { return slices.Contains(verbs[verb], s.Op()) }
}
