package plan

import (
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Gate is the verdict on a condition to go on: whether it holds, what is missing when it does not, and when that changes by
// itself. The zero value is an open gate. A gate is a value: to ask for one has no effect.
type Gate struct {
	Closed   bool
	Blockers []Blocker
	Wake     time.Time // zero: it does not change by itself
}

// When returns a gate that is open when a condition holds. What closes it is said elsewhere.
func When(open bool) Gate { return Gate{Closed: !open} }

// Shut returns a closed gate with one blocker.
func Shut(b Blocker) Gate { return Gate{Closed: true, Blockers: []Blocker{b}} }

// Until returns the gate with an instant at which it is to be looked at again.
func (g Gate) Until(t time.Time) Gate {
	g.Wake = Sooner(g.Wake, t)
	return g
}

// And returns a gate that is open when both are. It has the blockers of both.
func (g Gate) And(h Gate) Gate {
	g.Closed = g.Closed || h.Closed
	switch {
	case len(h.Blockers) == 0:
	case len(g.Blockers) == 0:
		g.Blockers = h.Blockers
	default:
		g.Blockers = append(g.Blockers[:len(g.Blockers):len(g.Blockers)], h.Blockers...)
	}
	g.Wake = Sooner(g.Wake, h.Wake)
	return g
}

// Sooner returns the earlier of two instants, of which zero is never.
func Sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Block makes a blocker.
func Block(party string, code reason.Code, format string, args ...any) Blocker {
	return Blocker{Party: party, Reason: code, Message: fmt.Sprintf(format, args...)}
}

// Held returns the last failure of a step that is not to be tried again yet, nil when the step may be taken.
func Held(o *facts.Observed, s Step) *facts.Failure {
	if len(o.Failures) == 0 {
		return nil
	}
	if f := o.Failure(s.Key()); f != nil && o.Now.Before(f.RetryAt) {
		return f
	}
	return nil
}
