package rollout

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// record collects an outcome.
type record struct {
	Outcome
	now     time.Time
	parties int

	// What the lanes and steps of all parties are cut from: when trust changes there is one for each.
	steps   []plan.Step
	domains []facts.Domain
}

// cut appends to a pool, and returns what was appended as a slice of its own. When the pool grows, what was cut before stays where it is.
func cut[T any](pool *[]T, items ...T) []T {
	if len(items) == 0 {
		return nil
	}
	start := len(*pool)
	*pool = append(*pool, items...)
	return slices.Clip((*pool)[start:])
}

func (r *record) lane(of string, steps ...plan.Step) {
	const few = 4 // more than that are for all parties, as when trust changes
	if len(r.Lanes) == few {
		r.Lanes = slices.Grow(r.Lanes, r.parties)
	}
	r.Lanes = append(r.Lanes, plan.Lane{Of: of, Steps: cut(&r.steps, steps...)})
}

func (r *record) block(party string, code reason.Code, format string, args ...any) {
	r.Blockers = append(r.Blockers, plan.Block(party, code, format, args...))
}

func (r *record) wakeAt(t time.Time) {
	if t.After(r.now) {
		r.Wake = plan.Sooner(r.Wake, t)
	}
}

// isOpen adds the blockers of a gate, and reports whether it is open.
func (r *record) isOpen(g plan.Gate) bool {
	r.Blockers = append(r.Blockers, g.Blockers...)
	r.wakeAt(g.Wake)
	return !g.Closed
}

// renewAt notes a time at which a leaf becomes due. What is not before that of another leaf changes nothing.
func (r *record) renewAt(t time.Time) {
	if r.Renewal.IsZero() || t.Before(r.Renewal) {
		r.Renewal = t
		r.wakeAt(t)
	}
}
