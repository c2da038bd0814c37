package schedule

import "time"

// fields are sets of numbers, one bit each. The topmost bit of day and weekday says that the field is a star.
type fields struct{ minute, hour, day, month, weekday uint64 }

const star = 1 << 63

func has(set uint64, n int) bool { return set>>n&1 == 1 }

// onDay reports whether a day fits. As in every cron, of day and weekday either is enough when both are given.
func (f *fields) onDay(t time.Time) bool {
	day, weekday := has(f.day, t.Day()), has(f.weekday, int(t.Weekday()))
	if f.day&star != 0 || f.weekday&star != 0 {
		return day && weekday
	}
	return day || weekday
}

// horizon is longer than any pause between two days that fit: 29 February, which 2100 has not.
const horizon = 9 * 366

// next returns the first minute at or after a reading of a clock that fits, both written as if the clock were in UTC; zero:
// none does.
func (f *fields) next(reading time.Time) time.Time {
	if up := reading.Truncate(time.Minute); up.Before(reading) {
		reading = up.Add(time.Minute)
	}
	y, m, d := reading.Date()
	day, minute := time.Date(y, m, d, 0, 0, 0, 0, time.UTC), reading.Hour()*60+reading.Minute()
	for end := day.AddDate(0, 0, horizon); day.Before(end); minute = 0 {
		if !has(f.month, int(day.Month())) {
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		if f.onDay(day) {
			if at, found := f.inDay(minute); found {
				return day.Add(time.Duration(at) * time.Minute)
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}
}

// inDay returns the first minute of a day, at or after one, that fits.
func (f *fields) inDay(from int) (minute int, found bool) {
	for hour, first := from/60, from%60; hour < 24; hour, first = hour+1, 0 {
		if !has(f.hour, hour) {
			continue
		}
		for ; first < 60; first++ {
			if has(f.minute, first) {
				return hour*60 + first, true
			}
		}
	}
	return 0, false
}

// next returns the first instant at or after t at which a window opens, in its zone; zero: it never does. Between two
// changes of a zone's clock a reading is a fixed distance from UTC, so the search goes from change to change.
func (w *window) next(t time.Time) time.Time {
	t = t.In(w.zone)
	for end := t.AddDate(10, 0, 0); t.Before(end); {
		_, seconds := t.Zone()
		ahead := time.Duration(seconds) * time.Second
		reading := w.fields.next(t.UTC().Add(ahead))
		if reading.IsZero() {
			return time.Time{}
		}
		opens := reading.Add(-ahead).In(w.zone)
		_, change := t.ZoneBounds()
		if change.IsZero() || opens.Before(change) {
			return opens
		}
		_, after := change.Zone()
		if skipped := time.Duration(after-seconds) * time.Second; opens.Before(change.Add(skipped)) {
			return change
		}
		t = change
	}
	return time.Time{}
}
