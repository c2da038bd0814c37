package rotation

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Windows say when what is planned may begin. Both answers depend on nothing but the instant, and each is asked for at most once
// where it can be kept: a schedule is slow to read compared with the rest of a decision.
type Windows interface {
	// Opening returns the first instant at or after t at which a window is open: t itself while one is, else the exact opening,
	// in the zone that the user thinks in; zero: none will ever open.
	Opening(t time.Time) time.Time
	// Closing returns until when it is open, or an instant until which it is open at least.
	Closing(t time.Time) time.Time
}

// Why what is planned does not begin yet. RotationPaused is the other one.
const (
	AwaitingWindow    Reason = "AwaitingWindow"    // no window is open
	WindowUnreachable Reason = "WindowUnreachable" // something becomes urgent before a window opens, and then waits for none
	PolicyInvalid     Reason = "PolicyInvalid"     // the spec asks for what cannot be, or cannot be understood
)

// planned is what is known of windows, and what waits for them.
type planned struct {
	known            bool // opening and closing were asked for
	opening, closing time.Time
	paused, awaiting postponed
	reach            reach
	late             late
}

// postponed are the leaves that wait for the end of a pause, or for a window: a few by name, and how many more.
type postponed struct {
	party string // the first
	names []string
	more  int
}

func (l *postponed) add(party string, domain Domain, reason Reason) {
	if len(l.names) == told {
		l.more++
		return
	}
	l.names = append(l.names, fmt.Sprintf("%s leaf of %s (%s)", domain, party, reason))
	l.party = cmp.Or(l.party, party)
}

// restricted reports whether something planned may have to wait.
func (p *Policy) restricted() bool {
	return p.Paused || p.Windows != nil || p.WindowsInvalid != ""
}

// urgentAt returns from when on what ends at an instant waits for no window. A quarter of its renewal window is left by default:
// so a leaf of 30 days, which is due 10 days before its end, has more than a week to meet a weekly window.
func (p *Policy) urgentAt(end time.Time, renewBefore time.Duration) time.Time {
	return end.Add(-p.urgentBefore(renewBefore))
}

func (p *Policy) urgentBefore(renewBefore time.Duration) time.Duration {
	if p.UrgentBefore > 0 {
		return p.UrgentBefore
	}
	return renewBefore / 4
}

// patience is how long before the end of a leaf it passes the gates. It must be after the leaf may begin without a window, or
// whatever waited that long would be renewed everywhere at once, without canary.
func (p *Policy) patience(renewBefore time.Duration) time.Duration {
	usual := renewBefore / 2
	if !p.restricted() {
		return usual
	}
	return min(usual, p.urgentBefore(renewBefore)/2)
}

// delay says why something planned does not begin now, "" when it may, and notes when that changes. What belongs to a re-key
// under way is not paused.
func (d *decision) delay(underway bool, urgentAt time.Time) Reason {
	switch {
	case !d.observed.Now.Before(urgentAt):
		return ""
	case d.policy.Paused && !underway:
		d.wakeAt(urgentAt)
		return RotationPaused
	case d.windowOpen():
		if d.planned.closing.Before(urgentAt) {
			d.wakeAt(d.planned.closing) // what waits for its turn until then waits for the next window
		}
		return ""
	}
	d.wakeAt(urgentAt)
	d.wakeAt(d.planned.opening)
	return AwaitingWindow
}

// windowOpen reports whether what is planned may begin now. Windows that cannot be understood are closed: UnknownIsNo.
func (d *decision) windowOpen() bool {
	switch windows, now := d.policy.Windows, d.observed.Now; {
	case d.policy.WindowsInvalid != "":
		return false
	case windows == nil:
		return true
	case !d.planned.known:
		d.planned.known, d.planned.opening = true, windows.Opening(now)
		if d.planned.opening.Equal(now) {
			d.planned.closing = windows.Closing(now)
		}
	}
	return d.planned.opening.Equal(d.observed.Now)
}

// postpone reports whether a leaf that can wait for its turn does not even get one now.
func (d *decision) postpone(p *Party, w *LeafWant, leaf *Leaf, reason Reason) bool {
	if !d.policy.restricted() || d.policy.RenewRequest != "" && d.policy.RenewRequest != p.Material.Answered {
		return false
	}
	underway := reason == ReasonIssuerNotActive
	if underway && d.active.of(w.Domain).pressing {
		return false
	}
	urgentAt := d.policy.urgentAt(leaf.NotAfter, w.RenewBefore)
	why := d.delay(underway, urgentAt)
	if why == "" {
		return false
	}
	if why == RotationPaused {
		d.planned.paused.add(p.Name, w.Domain, reason)
	} else {
		d.planned.awaiting.add(p.Name, w.Domain, reason)
	}
	if d.tooLate(why, urgentAt) {
		d.planned.late.add(missed{subject: subject{party: p.Name, domain: w.Domain}, urgentAt: urgentAt})
	}
	return true
}

// postponeTurn reports whether a turn of a planned re-key is not taken now, and says so.
func (d *decision) postponeTurn(l *lineage, s Step, underway bool) bool {
	if !d.policy.restricted() || l.signer == nil || l.pressing {
		return false
	}
	urgentAt := d.policy.urgentAt(l.signer.Certificate.NotAfter, d.policy.Authorities[l.domain].RenewBefore)
	why := d.delay(underway, urgentAt)
	if why == "" {
		return false
	}
	l.waits = true
	about := s.Generation
	if s.Op == TrustNew {
		about = l.signer.Generation // the new one does not exist
	}
	d.block(authorityName(l.domain, about), why, "%s: %s", d.until(why), s)
	if s.Op != DropOld && d.tooLate(why, urgentAt) {
		d.warn(missed{subject: subject{domain: l.domain, generation: l.signer.Generation}, urgentAt: urgentAt}, 0)
	}
	return true
}

// tooLate reports whether what waits for a window is urgent before one opens.
func (d *decision) tooLate(why Reason, urgentAt time.Time) bool {
	opening := d.planned.opening
	return why == AwaitingWindow && d.policy.WindowsInvalid == "" && (opening.IsZero() || !opening.Before(urgentAt))
}

// isPressing reports whether the re-key of a domain that is under way waits for no window: somebody asked for it, or the
// authority that it replaces is no good. It is derived from what stands on the Secrets, like everything about a re-key.
func (d *decision) isPressing(l *lineage, policy RekeyPolicy) bool {
	from, to := l.signer, l.next
	if to == nil && len(l.leaving) > 0 {
		from, to = l.leaving[0], l.signer
	}
	if from == nil || to == nil {
		return false
	}
	asked := to.Answered != "" && to.Answered != from.Answered || policy.Request != "" && policy.Request != to.Answered
	back := from.Generation > to.Generation
	return asked || back || policy.Tainted == from.Generation || !from.usable(d.observed.Now)
}

// until says what is waited for.
func (d *decision) until(why Reason) string {
	switch opening := d.planned.opening; {
	case why == RotationPaused:
		return "waiting until spec.tls.rotation.paused is unset"
	case d.policy.WindowsInvalid != "":
		return "waiting until spec.tls.rotation.windows can be understood"
	case opening.IsZero():
		return "waiting for a window, and none of spec.tls.rotation.windows ever opens"
	default:
		return "waiting for the next window, which opens at " + both(opening)
	}
}

// both tells an instant in UTC and on the clock that the user looks at.
func both(t time.Time) string {
	return fmt.Sprintf("%s (%s)", t.UTC().Format(time.RFC3339), t.Format("Mon 15:04 MST"))
}

// told limits how many leaves a message names: a cluster may have a hundred.
const told = 4

// planning says what waits for a window, and what will wait for one in vain.
func (d *decision) planning() {
	if !d.policy.restricted() {
		return
	}
	d.tellPostponed(RotationPaused, &d.planned.paused)
	d.tellPostponed(AwaitingWindow, &d.planned.awaiting)
	switch {
	case d.policy.WindowsInvalid != "":
		d.block("windows", PolicyInvalid, "%s; until then nothing planned begins", d.policy.WindowsInvalid)
	case d.policy.Windows != nil:
		d.authoritiesInTime()
		d.tellLate()
	}
}

// tellPostponed names the leaves that wait for one reason, in one blocker.
func (d *decision) tellPostponed(why Reason, leaves *postponed) {
	if leaves.party != "" {
		d.block(leaves.party, why, "%s: %s%s", d.until(why), strings.Join(leaves.names, ", "), andMore(leaves.more))
	}
}

func andMore(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
