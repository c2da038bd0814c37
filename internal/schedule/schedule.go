// Package schedule says when maintenance windows are open. It reads no clock: every instant is an argument.
//
// A window opens at each minute whose reading of the clock on the wall of its time zone fits its cron fields, and stays
// open for its duration. That is a length of time, not a reading of the clock. Where a zone puts its clock back, a reading
// that comes twice opens twice. Where it is put forward, a reading that is skipped opens at the instant of the change:
// a weekly window is not lost because it falls into the one hour that does not exist.
package schedule

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // an image without zone files knows zones too

	"github.com/robfig/cron/v3"
)

// Window as a user writes it.
type Window struct {
	Schedule string        // five fields of cron
	Duration time.Duration // above 0
	TimeZone string        // name in the IANA list; "" is UTC
}

// Windows are open whenever one of them is. The zero value never is.
type Windows struct{ windows []window }

type window struct {
	fields   fields
	duration time.Duration
	zone     *time.Location
}

// Invalid is an unparsable window.
type Invalid struct {
	Index int    // of the window, from 0
	Field string // schedule, duration or timeZone
	Fact  string // with the remedy, in one line
}

// Error returns it in one line that begins with the field.
func (i *Invalid) Error() string { return fmt.Sprintf("windows[%d].%s: %s", i.Index, i.Field, i.Fact) }

// New understands windows; an error is an *Invalid. One that can never open, such as on 30 February, is no error: it is not
// there.
func New(wanted []Window) (*Windows, error) {
	var w Windows
	for i, wish := range wanted {
		one, invalid := parse(wish)
		if invalid != nil {
			invalid.Index = i
			return nil, invalid
		}
		if !one.next(somewhen).IsZero() {
			w.windows = append(w.windows, one)
		}
	}
	return &w, nil
}

// somewhen is where the search for a window begins that may never open: whatever can be, is within some years of any instant.
var somewhen = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// standard are the five fields, without the seconds and the words such as @daily that the library knows as well.
const standard = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow

func parse(wish Window) (window, *Invalid) {
	zone, invalid := zoneOf(wish.TimeZone)
	if invalid != nil {
		return window{}, invalid
	}
	if wish.Duration <= 0 {
		return window{}, &Invalid{Field: "duration", Fact: fmt.Sprintf("%s is not above 0, such a window is never open; write a length of time such as 4h", wish.Duration)}
	}
	f, err := parseFields(wish.Schedule)
	if err != nil {
		return window{}, &Invalid{Field: "schedule", Fact: fmt.Sprintf("%q is no time: %s; write minute 0-59, hour 0-23, day 1-31, month 1-12 and weekday 0-6, where 0 is Sunday", wish.Schedule, err)}
	}
	return window{fields: f, duration: wish.Duration, zone: zone}, nil
}

func zoneOf(name string) (*time.Location, *Invalid) {
	zone, err := time.LoadLocation(name) // "" is UTC
	if err != nil || name == "Local" {   // the operator's own zone means nothing to a user
		return nil, &Invalid{Field: "timeZone", Fact: fmt.Sprintf("%q is no time zone; write a name of the IANA list such as Europe/Berlin or UTC", name)}
	}
	return zone, nil
}

func parseFields(text string) (fields, error) {
	if strings.ContainsAny(text, "=@?") { // the library would take a zone or a word
		return fields{}, fmt.Errorf("it has more than digits, names and * , - /")
	}
	parsed, err := cron.NewParser(standard).Parse(text)
	if err != nil {
		return fields{}, fmt.Errorf("%s", strings.Join(strings.Fields(err.Error()), " "))
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok || spec.Minute == 0 || spec.Hour == 0 || spec.Dom == 0 || spec.Month == 0 || spec.Dow == 0 {
		return fields{}, fmt.Errorf("a field names no value")
	}
	return fields{minute: spec.Minute, hour: spec.Hour, day: spec.Dom, month: spec.Month, weekday: spec.Dow}, nil
}

// Opening returns the first instant at or after t at which a window is open: t itself while one is, else the exact opening in
// that window's zone; zero if none will ever open.
func (w *Windows) Opening(t time.Time) time.Time {
	var first time.Time
	for i := range w.windows {
		one := &w.windows[i]
		opens := one.next(t.Add(-one.duration).Add(time.Nanosecond)) // what opened earlier is closed by now
		switch {
		case opens.IsZero():
		case !opens.After(t):
			return t
		case first.IsZero() || opens.Before(first):
			first = opens
		}
	}
	return first
}

// extensions limit how far Closing looks through windows that touch one another.
const extensions = 64

// Closing returns when what is open at t closes; t itself when nothing is open. Of windows that touch one another for very long
// it returns an instant until which they are open at least: ask again then.
func (w *Windows) Closing(t time.Time) time.Time {
	closes := t
	for range extensions {
		before := closes
		for i := range w.windows {
			one := &w.windows[i]
			if opened := one.next(closes.Add(-one.duration).Add(time.Nanosecond)); !opened.IsZero() && !opened.After(closes) {
				closes = opened.Add(one.duration)
			}
		}
		if closes.Equal(before) {
			break
		}
	}
	return closes
}
