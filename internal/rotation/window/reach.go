package window

import (
	"fmt"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// subject is a certificate whose renewal is planned: a party's leaf, or an authority.
type subject struct {
	party      string // "" for an authority
	domain     facts.Domain
	generation int // of an authority
}

// name is what its blocker is called after.
func (s subject) name() string {
	if s.party != "" {
		return s.party
	}
	return facts.AuthorityName(s.domain, s.generation)
}

func (s subject) String() string {
	if s.party != "" {
		return fmt.Sprintf("the %s leaf of %s", s.domain, s.party)
	}
	return "the " + s.name()
}

// jitterKey is what its renewal time depends on.
func (s subject) jitterKey() string {
	if s.party != "" {
		return s.party + "/" + string(s.domain)
	}
	return s.name()
}

// missed is something that no window opens for before it is urgent.
type missed struct {
	subject
	from     time.Time // since when it may be renewed; zero: it waits already
	urgentAt time.Time
}

// late is how many leaves miss every window, and the one that is urgent first.
type late struct {
	worst missed
	count int
}

// add takes the name as well, so that a failover, which changes the order of the parties, does not change what is told.
func (l *late) add(m missed) {
	l.count++
	sooner := m.urgentAt.Compare(l.worst.urgentAt)
	if l.count == 1 || sooner < 0 || sooner == 0 && m.party < l.worst.party {
		l.worst = m
	}
}

func authority(a *facts.Authority) subject {
	return subject{domain: a.Domain, generation: a.Generation}
}

// misses reports whether a certificate that is not due yet meets no window. Its exact renewal time takes a hash, and is asked
// for only where it matters: it is never after the plain one.
func (c *Calendar) misses(s subject, of *pki.CertificateFacts, renewBefore time.Duration) (missed, bool) {
	now, reach := c.now, &c.reach
	m := missed{subject: s, urgentAt: c.policy.UrgentAt(of.NotAfter, renewBefore)}
	plain := of.NotAfter.Add(-renewBefore)
	if !now.Before(plain) || reach.open(c.policy.Windows, plain, m.urgentAt) {
		return m, false
	}
	m.from = pki.RenewalTime(of.NotBefore, of.NotAfter, renewBefore, s.jitterKey())
	return m, now.Before(m.from) && !reach.open(c.policy.Windows, m.from, m.urgentAt)
}

// warn says what will be renewed outside of any window, and how to change that.
func (c *Calendar) warn(m missed, more int) plan.Blocker {
	who := m.String() + andMore(more)
	if !m.from.IsZero() && !m.from.Before(m.urgentAt) {
		return plan.Block(m.name(), reason.WindowUnreachable, "%s: urgent as soon as it is due, so that it waits for no window: shorten spec.tls.rotation.urgentBefore below its renewBefore", who)
	}
	when := fmt.Sprintf("urgent at %s, and no window opens before that", m.urgentAt.UTC().Format(time.RFC3339))
	start := c.now
	if !m.from.IsZero() {
		when = fmt.Sprintf("to be renewed from %s on and urgent at %s, and no window opens between", m.from.UTC().Format(time.RFC3339), m.urgentAt.UTC().Format(time.RFC3339))
		start = m.from
	}
	next := "none ever opens"
	if opening := c.policy.Windows.Opening(start); !opening.IsZero() {
		next = "the next one opens at " + both(opening)
	}
	return plan.Block(m.name(), reason.WindowUnreachable, "%s: %s, %s; it will be renewed outside of any: add to spec.tls.rotation.windows, or lengthen its renewBefore", who, when, next)
}

// reach answers whether a window is open at some instant of a stretch of time. Certificates that were issued together ask for
// nearly the same stretch, so it remembers what the schedule said.
type reach struct {
	opens  []time.Time    // instants at which one is open
	closed [][2]time.Time // stretches in which none is
}

// open reports whether a window is open at some instant from one (inclusive) to another.
func (r *reach) open(windows facts.Windows, from, until time.Time) bool {
	if !from.Before(until) {
		return false
	}
	for _, at := range r.opens {
		if !at.Before(from) && at.Before(until) {
			return true
		}
	}
	for _, stretch := range r.closed {
		if !from.Before(stretch[0]) && !until.After(stretch[1]) {
			return false
		}
	}
	// From the middle, for what is found there is in the stretches of the neighbours too.
	for _, start := range [...]time.Time{from.Add(until.Sub(from) / 2), from} {
		if at := windows.Opening(start); !at.IsZero() && at.Before(until) {
			r.opens = append(r.opens, at)
			return true
		}
	}
	r.noteClosed(windows, from, until)
	return false
}

// noteClosed remembers how far it is closed before and after a stretch, at most as far as the stretch is long.
func (r *reach) noteClosed(windows facts.Windows, from, until time.Time) {
	length := until.Sub(from)
	before, after := from, until
	if start := from.Add(-length); shut(windows, start, until) {
		before = start
	}
	if end := until.Add(length); shut(windows, from, end) {
		after = end
	}
	r.closed = append(r.closed, [2]time.Time{before, after})
}

// shut reports whether no window is open from one instant to another.
func shut(windows facts.Windows, from, until time.Time) bool {
	at := windows.Opening(from)
	return at.IsZero() || !at.Before(until)
}
