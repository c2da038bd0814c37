package schedule

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func windows(t testing.TB, wanted ...Window) *Windows {
	t.Helper()
	w, err := New(wanted)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

const berlin = "Europe/Berlin"

func TestOpening(t *testing.T) {
	for _, tc := range []struct {
		name     string
		schedule string
		duration time.Duration
		zone     string
		at, want string // "" for never, "now" for open
	}{
		{"before it opens", "0 2 * * *", time.Hour, "", "2031-03-05T01:59:59Z", "2031-03-05T02:00:00Z"},
		{"the instant it opens", "0 2 * * *", time.Hour, "", "2031-03-05T02:00:00Z", "now"},
		{"its last instant", "0 2 * * *", time.Hour, "", "2031-03-05T02:59:59Z", "now"},
		{"the instant it closes", "0 2 * * *", time.Hour, "", "2031-03-05T03:00:00Z", "2031-03-06T02:00:00Z"},
		{"over midnight", "0 23 * * 6", 4 * time.Hour, "", "2031-03-09T02:59:00Z", "now"},
		{"at the weekend", "0 2 * * 6,0", 4 * time.Hour, berlin, "2031-01-06T00:00:00Z", "2031-01-11T01:00:00Z"},
		{"names of days and months", "30 4 * FEB SUN", time.Hour, "", "2031-01-01T00:00:00Z", "2031-02-02T04:30:00Z"},
		{"the first of the month or a Monday", "0 0 1 * 1", time.Minute, "", "2031-01-01T12:00:00Z", "2031-01-06T00:00:00Z"},
		{"every other minute", "*/2 * * * *", time.Minute, "", "2031-01-01T00:01:30Z", "2031-01-01T00:02:00Z"},
		{"a duration as long as the period is always open", "0 * * * *", time.Hour, "", "2031-01-01T00:59:59.999999999Z", "now"},
		{"a duration longer than the period too", "0 0 * * 0", 200 * time.Hour, "", "2031-03-08T23:59:59Z", "now"},
		{"29 February", "0 0 29 2 *", time.Hour, "", "2097-01-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"30 February", "0 0 30 2 *", time.Hour, "", "2031-01-01T00:00:00Z", ""},
		{"the next year", "0 0 1 1 *", time.Hour, "Asia/Tokyo", "2031-01-01T00:00:00Z", "2031-12-31T15:00:00Z"},

		// On 30 March 2031 Berlin goes from 01:59:59 +01:00 to 03:00:00 +02:00.
		{"the lost hour: at the change", "30 2 * * *", time.Hour, berlin, "2031-03-29T12:00:00Z", "2031-03-30T01:00:00Z"},
		{"the lost hour: it is as long as ever", "30 2 * * *", time.Hour, berlin, "2031-03-30T01:59:59Z", "now"},
		{"the lost hour: and closes", "30 2 * * *", time.Hour, berlin, "2031-03-30T02:00:00Z", "2031-03-31T00:30:00Z"},
		{"just before the lost hour", "59 1 * * *", time.Hour, berlin, "2031-03-29T12:00:00Z", "2031-03-30T00:59:00Z"},
		{"just after the lost hour", "0 3 * * *", time.Hour, berlin, "2031-03-29T12:00:00Z", "2031-03-30T01:00:00Z"},
		// On 26 October 2031 it goes from 02:59:59 +02:00 to 02:00:00 +01:00.
		{"the doubled hour: the first", "30 2 * * *", 10 * time.Minute, berlin, "2031-10-25T12:00:00Z", "2031-10-26T00:30:00Z"},
		{"the doubled hour: between", "30 2 * * *", 10 * time.Minute, berlin, "2031-10-26T00:40:00Z", "2031-10-26T01:30:00Z"},
		{"the doubled hour: over", "30 2 * * *", 10 * time.Minute, berlin, "2031-10-26T01:40:00Z", "2031-10-27T01:30:00Z"},
		{"a window across the doubled hour is no longer", "0 1 * * *", 3 * time.Hour, berlin, "2031-10-26T02:00:00Z", "2031-10-27T00:00:00Z"},
		{"half an hour lost", "15 2 * * *", time.Minute, "Australia/Lord_Howe", "2031-10-04T12:00:00Z", "2031-10-04T15:30:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := instant(t, tc.at)
			got := windows(t, Window{tc.schedule, tc.duration, tc.zone}).Opening(at)
			want := tc.want
			if want == "now" {
				want = at.UTC().Format(time.RFC3339Nano)
			}
			if text := got.UTC().Format(time.RFC3339Nano); want == "" && !got.IsZero() || want != "" && text != want {
				t.Errorf("Opening(%s) = %s, want %q", tc.at, text, want)
			}
			if !got.IsZero() && tc.want != "now" && tc.zone != "" && got.Location().String() != tc.zone {
				t.Errorf("it is told in %s, not in the window's zone", got.Location())
			}
		})
	}
}

func TestClosing(t *testing.T) {
	daily := Window{"0 2 * * *", time.Hour, ""}
	for _, tc := range []struct {
		name     string
		windows  []Window
		at, want string
	}{
		{"in the middle", []Window{daily}, "2031-01-01T02:30:00Z", "2031-01-01T03:00:00Z"},
		{"closed", []Window{daily}, "2031-01-01T03:00:00Z", "2031-01-01T03:00:00Z"},
		{"overlapping", []Window{daily, {"30 2 * * *", time.Hour, ""}}, "2031-01-01T02:10:00Z", "2031-01-01T03:30:00Z"},
		{"in the other order", []Window{{"30 2 * * *", time.Hour, ""}, daily}, "2031-01-01T02:10:00Z", "2031-01-01T03:30:00Z"},
		{"touching", []Window{{"0 0 * * 6,0", 24 * time.Hour, ""}}, "2031-01-04T10:00:00Z", "2031-01-06T00:00:00Z"},
		{"in two zones", []Window{daily, {"0 4 * * *", time.Hour, berlin}}, "2031-01-01T02:10:00Z", "2031-01-01T04:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := windows(t, tc.windows...).Closing(instant(t, tc.at)); !got.Equal(instant(t, tc.want)) {
				t.Errorf("Closing(%s) = %s, want %s", tc.at, got, tc.want)
			}
		})
	}
	always := windows(t, Window{"* * * * *", 4 * time.Hour, ""})
	if at := instant(t, "2031-01-01T00:00:30Z"); !always.Closing(at).After(at.Add(time.Hour)) {
		t.Error("what is always open closes soon")
	}
}

func TestNoWindowIsNeverOpen(t *testing.T) {
	for _, w := range []*Windows{windows(t), windows(t, Window{"0 0 31 4,6,9,11 *", time.Hour, ""})} {
		if at := instant(t, "2031-01-01T00:00:00Z"); !w.Opening(at).IsZero() || !w.Closing(at).Equal(at) {
			t.Error("it opens")
		}
	}
}

func TestWhatCannotBeUnderstood(t *testing.T) {
	good := Window{"0 2 * * 6", time.Hour, berlin}
	for _, tc := range []struct {
		wrong Window
		field string
		says  string
	}{
		{Window{"61 2 * * *", time.Hour, ""}, "schedule", "above maximum"},
		{Window{"0 2 * * 7", time.Hour, ""}, "schedule", "0 is Sunday"},
		{Window{"0 2 * *", time.Hour, ""}, "schedule", "5 fields"},
		{Window{"", time.Hour, ""}, "schedule", "empty"},
		{Window{"0 2 * * MONTAG", time.Hour, ""}, "schedule", "MONTAG"},
		{Window{", 2 * * *", time.Hour, ""}, "schedule", "names no value"},
		{Window{"*/0 2 * * *", time.Hour, ""}, "schedule", "step"},
		{Window{"@daily", time.Hour, ""}, "schedule", "digits"},
		{Window{"TZ=UTC 0 2 * * *", time.Hour, ""}, "schedule", "digits"},
		{Window{"0 2 * * *", 0, ""}, "duration", "never open"},
		{Window{"0 2 * * *", time.Hour, "Europe/Berln"}, "timeZone", "Europe/Berlin"},
		{Window{"0 2 * * *", time.Hour, "Local"}, "timeZone", "IANA"},
		{Window{"0 2 * * *", time.Hour, "../etc/passwd"}, "timeZone", "IANA"},
	} {
		_, err := New([]Window{good, tc.wrong})
		var invalid *Invalid
		if !errors.As(err, &invalid) || invalid.Index != 1 || invalid.Field != tc.field {
			t.Errorf("%+v: %v, want windows[1].%s", tc.wrong, err, tc.field)
			continue
		}
		if text := err.Error(); !strings.Contains(text, tc.says) || strings.Contains(text, "\n") || !strings.HasPrefix(text, "windows[1]."+tc.field+": ") {
			t.Errorf("%+v: want one line with %q, got %s", tc.wrong, tc.says, text)
		}
	}
}

// opensAt is the package's comment read aloud: does a window open in the minute that begins at t? It asks the zone what the
// clock reads now and read a minute ago.
func opensAt(w *window, t time.Time) bool {
	now, before := t.In(w.zone), t.Add(-time.Minute).In(w.zone)
	if fits(&w.fields, now) {
		return true
	}
	_, offset := now.Zone()
	_, earlier := before.Zone()
	for skipped := earlier; skipped < offset; skipped += 60 {
		if fits(&w.fields, now.UTC().Add(time.Duration(skipped)*time.Second)) {
			return true
		}
	}
	return false
}

func fits(f *fields, reading time.Time) bool {
	return has(f.minute, reading.Minute()) && has(f.hour, reading.Hour()) && has(f.month, int(reading.Month())) && f.onDay(reading)
}

// openAt is the slow second answer: some minute of the last duration opened it.
func openAt(windows *Windows, t time.Time) bool {
	for i := range windows.windows {
		w := &windows.windows[i]
		for at := t.Truncate(time.Minute); at.After(t.Add(-w.duration)); at = at.Add(-time.Minute) {
			if opensAt(w, at) {
				return true
			}
		}
	}
	return false
}

// changes are instants at which some zone changes its clock, by an hour, by half an hour, by a day.
var changes = map[string][]string{
	berlin:                {"2031-03-30T01:00:00Z", "2031-10-26T01:00:00Z"},
	"America/New_York":    {"2031-03-09T07:00:00Z", "2031-11-02T06:00:00Z"},
	"Australia/Lord_Howe": {"2031-10-04T15:30:00Z", "2031-04-05T15:00:00Z"},
	"Pacific/Apia":        {"2011-12-30T10:00:00Z"},
	"UTC":                 {"2031-01-01T00:00:00Z"},
}

func someWindow(t *rapid.T, label string) Window {
	field := func(lowest, highest int) string {
		return rapid.OneOf(
			rapid.Just("*"),
			rapid.Map(rapid.IntRange(lowest, highest), func(n int) string { return fmt.Sprint(n) }),
			rapid.Map(rapid.IntRange(lowest, highest-1), func(n int) string { return fmt.Sprintf("%d-%d", n, min(n+2, highest)) }),
			rapid.Map(rapid.IntRange(2, 20), func(n int) string { return fmt.Sprintf("*/%d", n) }),
		).Draw(t, label)
	}
	hour := rapid.OneOf(rapid.Just("1-3"), rapid.Just("2"), rapid.Just(field(0, 23))).Draw(t, label)
	day := rapid.OneOf(rapid.Just("*"), rapid.Just(field(1, 31))).Draw(t, label)
	weekday := rapid.OneOf(rapid.Just("*"), rapid.Just(field(0, 6))).Draw(t, label)
	return Window{
		Schedule: strings.Join([]string{field(0, 59), hour, day, "*", weekday}, " "),
		Duration: time.Duration(rapid.IntRange(1, 180).Draw(t, label)) * time.Minute,
	}
}

// TestOpeningAgreesWithTheSlowAnswer walks minute by minute over a day around a change of a zone's clock.
func TestOpeningAgreesWithTheSlowAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{berlin, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"}).Draw(t, "zone")
		change, err := time.Parse(time.RFC3339, rapid.SampledFrom(changes[zone]).Draw(t, "change"))
		if err != nil {
			t.Fatal(err)
		}
		wanted := []Window{someWindow(t, "first"), someWindow(t, "second")}[:rapid.IntRange(1, 2).Draw(t, "windows")]
		wanted[0].TimeZone = zone
		both, err := New(wanted)
		if err != nil {
			t.Fatal(err)
		}
		end := change.Add(16 * time.Hour)
		nextOpening := both.Opening(end) // known from the back: what is true of a minute follows from the one after it
		for at := end; at.After(change.Add(-8 * time.Hour)); at = at.Add(-time.Minute) {
			open := openAt(both, at)
			if open {
				nextOpening = at
			}
			if got := both.Opening(at); !got.Equal(nextOpening) {
				t.Fatalf("%+v: Opening(%s) = %s, the slow answer is %s", wanted, at, got, nextOpening)
			}
			if at.Minute()%5 != 0 {
				continue
			}
			closes := both.Closing(at)
			wrong := !closes.Equal(at)
			if open {
				wrong = !closes.After(at) || !openAt(both, closes.Add(-time.Second)) || openAt(both, closes) && closes.Sub(at) < extensions*time.Minute
			}
			if wrong {
				t.Fatalf("%+v: open %t at %s and closes at %s", wanted, open, at, closes)
			}
		}
	})
}

func BenchmarkOpening(b *testing.B) {
	for _, schedule := range []string{"* * * * *", "0 2 * * *", "0 2 * * 6", "0 2 1 * *", "0 0 29 2 *"} {
		b.Run(schedule, func(b *testing.B) {
			w := windows(b, Window{schedule, time.Hour, berlin})
			at := instant(b, "2031-01-01T12:00:00Z")
			b.ReportAllocs()
			for b.Loop() {
				w.Opening(at)
			}
		})
	}
}
