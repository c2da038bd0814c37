// Package window decides when what is planned may begin, and warns about certificates for which no maintenance window opens in time.
package window

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Calendar answers when windows are open, as seen at one instant. It asks the schedule at most once for each answer.
type Calendar struct {
	policy           *facts.Policy
	now              time.Time
	known            bool // opening and closing were asked for
	opening, closing time.Time
	reach            reach
}

// New returns the calendar of a policy at an instant.
func New(policy *facts.Policy, now time.Time) *Calendar {
	return &Calendar{policy: policy, now: now}
}

// Delay says why something planned does not begin now, "" when it may, and when that changes (zero: not by itself). What belongs
// to a re-key under way is not paused.
func (c *Calendar) Delay(underway bool, urgentAt time.Time) (why reason.Code, wake time.Time) {
	switch {
	case !c.policy.Restricted() || !c.now.Before(urgentAt):
		return "", time.Time{}
	case c.policy.Paused && !underway:
		return reason.RotationPaused, urgentAt
	case c.open():
		if c.closing.Before(urgentAt) {
			wake = c.closing // what waits for its turn until then waits for the next window
		}
		return "", wake
	}
	return reason.AwaitingWindow, plan.Sooner(urgentAt, c.opening)
}

// open reports whether what is planned may begin now. Unparsable windows are closed: UnknownIsNo.
func (c *Calendar) open() bool {
	switch windows := c.policy.Windows; {
	case c.policy.WindowsInvalid != "":
		return false
	case windows == nil:
		return true
	case !c.known:
		c.known, c.opening = true, windows.Opening(c.now)
		if c.opening.Equal(c.now) {
			c.closing = windows.Closing(c.now)
		}
	}
	return c.opening.Equal(c.now)
}

// Transition is the gate of a transition of a planned re-key: step is what waits, about is the authority that it is called after,
// and active the certificate of the authority that must not end meanwhile.
func (c *Calendar) Transition(step plan.Step, about string, active *facts.Authority, underway bool) plan.Gate {
	renewBefore := c.policy.Authorities[active.Domain].RenewBefore
	urgentAt := c.policy.UrgentAt(active.Certificate.NotAfter, renewBefore)
	why, wake := c.Delay(underway, urgentAt)
	if why == "" {
		return plan.Gate{}.Until(wake)
	}
	gate := plan.Shut(plan.Block(about, why, "%s: %s", c.until(why), step)).Until(wake)
	if _, drops := step.(plan.DropOld); !drops && c.tooLate(why, urgentAt) {
		gate = gate.And(plan.Shut(c.warn(missed{subject: authority(active), urgentAt: urgentAt}, 0)))
	}
	return gate
}

// tooLate reports whether what waits for a window is urgent before one opens.
func (c *Calendar) tooLate(why reason.Code, urgentAt time.Time) bool {
	return why == reason.AwaitingWindow && c.policy.WindowsInvalid == "" && (c.opening.IsZero() || !c.opening.Before(urgentAt))
}

// until says what is waited for.
func (c *Calendar) until(why reason.Code) string {
	switch {
	case why == reason.RotationPaused:
		return "waiting until spec.tls.rotation.paused is unset"
	case c.policy.WindowsInvalid != "":
		return "waiting until spec.tls.rotation.windows can be parsed"
	case c.opening.IsZero():
		return "waiting for a window, and none of spec.tls.rotation.windows ever opens"
	default:
		return "waiting for the next window, which opens at " + both(c.opening)
	}
}

// both gives an instant in UTC and on the clock of the window's time zone.
func both(t time.Time) string {
	return fmt.Sprintf("%s (%s)", t.UTC().Format(time.RFC3339), t.Format("Mon 15:04 MST"))
}

// Waiting collects the leaves that wait for a window or for the end of a pause, and those that miss every window.
type Waiting struct {
	paused, awaiting postponed
	late             late
}

// Add notes a leaf that waits: why it does, and for which reason it is to be issued.
func (w *Waiting) Add(c *Calendar, party string, domain facts.Domain, why, due reason.Code, urgentAt time.Time) {
	if why == reason.RotationPaused {
		w.paused.add(party, domain, due)
	} else {
		w.awaiting.add(party, domain, due)
	}
	if c.tooLate(why, urgentAt) {
		w.late.add(missed{subject: subject{party: party, domain: domain}, urgentAt: urgentAt})
	}
}

// InTime looks whether a leaf that is not due yet will meet a window.
func (w *Waiting) InTime(c *Calendar, party string, leaf *facts.Leaf, renewBefore time.Duration) {
	if c.policy.Windows == nil {
		return
	}
	if m, misses := c.misses(subject{party: party, domain: leaf.Domain}, &leaf.CertificateFacts, renewBefore); misses {
		w.late.add(m)
	}
}

// Blockers says what waits for a window, and what will wait for one in vain. resting are the active authorities that are not being
// re-keyed and do not wait.
func (c *Calendar) Blockers(w *Waiting, resting []*facts.Authority) (blockers []plan.Blocker) {
	if !c.policy.Restricted() {
		return nil
	}
	blockers = c.postponed(blockers, reason.RotationPaused, &w.paused)
	blockers = c.postponed(blockers, reason.AwaitingWindow, &w.awaiting)
	switch {
	case c.policy.WindowsInvalid != "":
		return append(blockers, plan.Block("windows", reason.PolicyInvalid, "%s; until then nothing planned begins", c.policy.WindowsInvalid))
	case c.policy.Windows == nil:
		return blockers
	}
	for _, a := range resting {
		if m, misses := c.authorityMisses(a); misses {
			blockers = append(blockers, c.warn(m, 0))
		}
	}
	if w.late.count > 0 {
		blockers = append(blockers, c.warn(w.late.worst, w.late.count-1))
	}
	return blockers
}

func (c *Calendar) authorityMisses(a *facts.Authority) (missed, bool) {
	renewBefore := c.policy.Authorities[a.Domain].RenewBefore
	if renewBefore <= 0 {
		return missed{}, false
	}
	return c.misses(authority(a), &a.Certificate, renewBefore)
}

// postponed names the leaves that wait for one reason, in one blocker.
func (c *Calendar) postponed(blockers []plan.Blocker, why reason.Code, leaves *postponed) []plan.Blocker {
	if leaves.party == "" {
		return blockers
	}
	return append(blockers, plan.Block(leaves.party, why, "%s: %s%s", c.until(why), strings.Join(leaves.names, ", "), andMore(leaves.more)))
}

// named limits how many leaves a message names: a cluster may have a hundred.
const named = 4

// postponed are the leaves that wait for the end of a pause, or for a window: a few by name, and how many more.
type postponed struct {
	party string // the first
	names []string
	more  int
}

func (l *postponed) add(party string, domain facts.Domain, due reason.Code) {
	if len(l.names) == named {
		l.more++
		return
	}
	l.names = append(l.names, fmt.Sprintf("%s leaf of %s (%s)", domain, party, due))
	l.party = cmp.Or(l.party, party)
}

func andMore(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
