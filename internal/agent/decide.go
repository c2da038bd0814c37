package agent

import (
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// endingFraction is the last part of a leaf's life, in which the agent goes ahead without being asked.
// The operator renews after two thirds and so always comes first while it is up.
const endingFraction = 6

// Life is the validity of a leaf.
type Life struct{ From, Until time.Time }

// EndingFrom is when the last sixth of the life begins.
func (l Life) EndingFrom() time.Time { return l.Until.Add(-l.Until.Sub(l.From) / endingFraction) }

// Ending reports whether less than a sixth of the life is left.
func (l Life) Ending(now time.Time) bool { return !now.Before(l.EndingFrom()) }

// Candidate is a revision that is active or could be.
type Candidate struct {
	Revision       string
	Server, Client Life
	Refusal        error // why it must not be activated now; nil: it may be
}

// improves reports whether c has a later leaf where one of d is ending, and no other leaf that gets worse.
func (c *Candidate) improves(d *Candidate, now time.Time) bool {
	return improvesLeaf(c.Server, d.Server, now) && !worsensLeaf(c.Client, d.Client, now) ||
		improvesLeaf(c.Client, d.Client, now) && !worsensLeaf(c.Server, d.Server, now)
}

func improvesLeaf(c, d Life, now time.Time) bool { return d.Ending(now) && c.Until.After(d.Until) }
func worsensLeaf(c, d Life, now time.Time) bool  { return c.Ending(now) && c.Until.Before(d.Until) }

// Facts is everything that the decision depends on.
type Facts struct {
	Now       time.Time
	Asked     string      // revision that the operator asked for; "" when nothing is asked
	Mounted   *Candidate  // what the kubelet has delivered; nil: no file at all
	Active    *Candidate  // what the link "current" leads to; nil: nothing
	Held      []Candidate // other revisions that were installed, latest first
	Confirmed bool        // Active is seen to be served
}

// Act is what to do.
type Act string

// The acts.
const (
	Rest            Act = "Rest"            // nothing to do
	ActivateMounted Act = "ActivateMounted" // install what is mounted, link it, confirm it
	ActivateHeld    Act = "ActivateHeld"    // link a revision that is installed already, confirm it
	Confirm         Act = "Confirm"         // reload and look whether Active is served
)

// Decision is what to do, and when to think again although nothing happens.
type Decision struct {
	Act      Act
	Revision string // to activate
	Unasked  bool
	Problem  *agentapi.Problem // why what was asked cannot be done; nil also while it is being done
	WakeAt   time.Time         // zero: only when something happens
}

// Decide is the whole decision of the agent.
//
// What is asked goes first. Without being asked it activates only when nothing is active, or when a leaf of the
// active revision is ending and the mounted one has a later leaf. It never activates what does not verify now. An undo is refused
// where going ahead unasked would be right the other way round, so the two rules never undo each other.
func Decide(f Facts) Decision {
	d := choose(f)
	d.WakeAt = wakeAt(f)
	return d
}

func choose(f Facts) Decision {
	switch {
	case f.Active == nil:
		return begin(f)
	case f.deliveredNew() && f.Mounted.Refusal == nil && f.Asked == f.Mounted.Revision:
		return Decision{Act: ActivateMounted, Revision: f.Mounted.Revision}
	case f.undo() != nil:
		return Decision{Act: ActivateHeld, Revision: f.Asked}
	case f.deliveredNew() && f.Mounted.Refusal == nil && f.Mounted.improves(f.Active, f.Now):
		return Decision{Act: ActivateMounted, Revision: f.Mounted.Revision, Unasked: true}
	}
	d := Decision{Act: Rest, Problem: waiting(f)}
	if !f.Confirmed {
		d.Act = Confirm
	}
	return d
}

// begin chooses when nothing is active: PostgreSQL waits for it.
func begin(f Facts) Decision {
	if f.Mounted != nil && f.Mounted.Refusal == nil {
		return Decision{Act: ActivateMounted, Revision: f.Mounted.Revision, Unasked: f.Asked != f.Mounted.Revision}
	}
	for _, held := range f.Held {
		if held.Refusal == nil {
			return Decision{Act: ActivateHeld, Revision: held.Revision, Unasked: f.Asked != held.Revision}
		}
	}
	if f.Mounted != nil {
		return Decision{Act: Rest, Problem: refused(f.Mounted.Refusal)}
	}
	return Decision{Act: Rest, Problem: &agentapi.Problem{
		Reason: agentapi.AwaitingDelivery, Message: "the kubelet has delivered no material yet: wait, or look for the pod's events",
	}}
}

// deliveredNew reports whether something is mounted that is not active.
func (f Facts) deliveredNew() bool {
	return f.Mounted != nil && f.Mounted.Revision != f.Active.Revision
}

// undo returns the held revision that is asked for and may be used.
func (f Facts) undo() *Candidate {
	if f.Asked == f.Active.Revision {
		return nil
	}
	for _, held := range f.Held {
		if held.Revision == f.Asked && held.Refusal == nil && !f.Active.improves(&held, f.Now) {
			return &held
		}
	}
	return nil
}

// waiting says why what is asked, or what is mounted, is not active.
func waiting(f Facts) *agentapi.Problem {
	switch {
	case f.Mounted == nil:
		return refused(&pki.Error{Reason: pki.NoCertificate, Fact: "the delivered files are gone", Remedy: "let the operator write the material Secret anew"})
	case f.deliveredNew() && f.Mounted.Refusal != nil:
		return refused(f.Mounted.Refusal)
	case f.Asked != "" && f.Asked != f.Active.Revision && !f.holds(f.Asked):
		return &agentapi.Problem{Reason: agentapi.AwaitingDelivery, Message: fmt.Sprintf("revision %s is asked for and %s is mounted: the kubelet delivers it when the pod changes", f.Asked, f.Mounted.Revision)}
	}
	return nil
}

func (f Facts) holds(revision string) bool {
	for _, held := range f.Held {
		if held.Revision == revision {
			return true
		}
	}
	return false
}

func refused(err error) *agentapi.Problem {
	message := err.Error()
	if reason := pki.ReasonOf(err); reason != "" {
		message = string(reason) + ": " + message
	}
	return &agentapi.Problem{Reason: agentapi.MaterialInvalid, Message: message}
}

// wakeAt is the next instant at which the same files may lead to another decision.
func wakeAt(f Facts) time.Time {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(f.Now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if f.Active != nil {
		consider(f.Active.Server.EndingFrom())
		consider(f.Active.Client.EndingFrom())
	}
	if f.Mounted != nil {
		consider(f.Mounted.Server.From) // not valid before
		consider(f.Mounted.Client.From)
	}
	return next
}
