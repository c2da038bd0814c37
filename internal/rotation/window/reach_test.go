package window

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var begin = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)

// calendar is open for a length of time at every multiple of a period after an instant; a period of 0 is never.
type calendar struct {
	from          time.Time
	every, length time.Duration
}

func (c *calendar) Opening(t time.Time) time.Time {
	if c.every == 0 {
		return time.Time{}
	}
	since := t.Sub(c.from) % c.every
	if since < 0 {
		since += c.every
	}
	if since < c.length {
		return t
	}
	return t.Add(c.every - since)
}

func (c *calendar) Closing(t time.Time) time.Time { return t.Add(c.length - t.Sub(c.from)%c.every) }

// reachSlowly asks the calendar at every hour.
func reachSlowly(c *calendar, from, until time.Time) bool {
	for at := from; at.Before(until); at = at.Add(time.Hour) {
		if c.Opening(at).Equal(at) {
			return true
		}
	}
	return false
}

func TestReachRemembersWhatIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hours := func(label string, lowest, highest int) time.Duration {
			return time.Duration(rapid.IntRange(lowest, highest).Draw(t, label)) * time.Hour
		}
		c := &calendar{from: begin.Add(-1000 * 24 * time.Hour), every: hours("every", 0, 200), length: hours("length", 1, 10)}
		var r reach
		for range rapid.IntRange(1, 30).Draw(t, "questions") {
			from := begin.Add(hours("from", 0, 300))
			until := from.Add(hours("length of the stretch", 0, 100))
			if got, want := r.open(c, from, until), reachSlowly(c, from, until); got != want {
				t.Fatalf("%+v: open(%s, %s) = %t", c, from, until, got)
			}
		}
	})
}
