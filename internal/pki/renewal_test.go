package pki

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRenewalTimeByExample(t *testing.T) {
	// Computed by hand from the first 8 bytes of the SHA-256 of the key. They are fixed for ever: a new version of the
	// operator must not renew everything at once.
	tests := []struct {
		life, renewBefore time.Duration
		key               string
		want              time.Duration // after the start
	}{
		{90 * day, 30 * day, "hippo-instance1-abcd/server", 5148388 * time.Second},
		{3 * time.Minute, time.Minute, "hippo-instance1-abcd/server", 118 * time.Second},
		{90 * day, 0, "any", 90 * day},
		{90 * day, -time.Hour, "any", 90 * day},
		{90 * day, 90 * day, "any", 0},
		{90 * day, year, "any", 0},
		{9 * time.Second, 3 * time.Second, "any", 5 * time.Second},
	}
	for _, test := range tests {
		got := RenewalTime(epoch, epoch.Add(test.life), test.renewBefore, test.key)
		if want := epoch.Add(test.want); !got.Equal(want) {
			t.Errorf("life %s, renew %s before, key %q: %s after the start, want %s", test.life, test.renewBefore, test.key, got.Sub(epoch), test.want)
		}
	}
}

func TestRenewalTimeBounds(t *testing.T) {
	seconds := func(t *rapid.T, name string, most int64) time.Duration {
		return time.Duration(rapid.Int64Range(0, most).Draw(t, name)) * time.Second
	}
	rapid.Check(t, func(t *rapid.T) {
		life := seconds(t, "life", 10*365*86400)
		renewBefore := seconds(t, "renewBefore", 10*365*86400)
		key := rapid.String().Draw(t, "key")
		start, end := epoch, epoch.Add(life)
		got := RenewalTime(start, end, renewBefore, key)

		if again := RenewalTime(start, end, renewBefore, key); !again.Equal(got) {
			t.Fatalf("twice asked: %s and %s", got, again)
		}
		if got.Before(start) || got.After(end) {
			t.Fatalf("%s is outside the life %s to %s", got, start, end)
		}
		due := end.Add(-renewBefore)
		if due.Before(start) {
			due = start
		}
		if got.After(due) {
			t.Fatalf("%s is later than %s", got, due)
		}
		early := due.Sub(got)
		if most := min(renewBefore, due.Sub(start))/10 + time.Second; early > most { // a second for the whole seconds
			t.Fatalf("%s early, at most %s", early, most)
		}
		if got.Nanosecond() != 0 {
			t.Fatalf("%s is no whole second", got)
		}
	})
}

func TestRenewalTimesSpread(t *testing.T) {
	const n = 1000
	start, end, renewBefore := epoch, epoch.Add(90*day), 30*day
	window := renewBefore / 10
	var buckets [10]int
	for i := range n {
		early := end.Add(-renewBefore).Sub(RenewalTime(start, end, renewBefore, fmt.Sprintf("hippo-instance1-%d/server", i)))
		buckets[min(9, early*10/window)]++
	}
	for i, count := range buckets { // 100 in each on average; the keys are fixed, so this never varies
		if count < 60 || count > 140 {
			t.Errorf("tenth %d of the window holds %d of %d", i, count, n)
		}
	}
}

func TestRenewalTimeKeepsAStartWithinASecond(t *testing.T) {
	start := epoch.Add(500 * time.Millisecond)
	if got := RenewalTime(start, start.Add(10*time.Second), 10*time.Second-1, "any"); got.Before(start) {
		t.Errorf("%s is before the start %s", got, start)
	}
}

func TestRenewalTimeOfExtremeLives(t *testing.T) {
	end := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, renewBefore := range []time.Duration{0, 1, math.MaxInt64, math.MinInt64} {
		got := RenewalTime(epoch, end, renewBefore, "any")
		if got.Before(epoch) || got.After(end) {
			t.Errorf("renew %s before: %s", renewBefore, got)
		}
	}
}

func TestJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.Int64().Draw(t, "window"))
		got := jitter(window, rapid.String().Draw(t, "key"))
		if got < 0 || window > 0 && got >= window || window <= 0 && got != 0 {
			t.Fatalf("jitter %d in a window of %d", got, window)
		}
	})
}

func TestLikeKeysAreSpreadOverTheWholeWindow(t *testing.T) {
	const window, keys = 100, 10_000
	var buckets [10]int
	for i := range keys {
		buckets[spread(fmt.Sprintf("hippo-00-%d-tls/server", i))%window/10]++
	}
	for i, n := range buckets {
		if n < keys/10*8/10 || n > keys/10*12/10 {
			t.Errorf("%d of %d keys fall into tenth %d, want about a tenth", n, keys, i)
		}
	}
}
