package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// BenchmarkNext times the decision. Parties counts the operator, the pooler
// party with two pods, and instances for the rest.
func BenchmarkNext(b *testing.B) {
	for _, parties := range []int{10, 100, 1000} {
		for _, c := range []struct {
			name     string
			premises []fact
		}{
			{"steady", nil},
			{"due", []fact{everythingDue}},
			{"rotating", []fact{everythingDue, halfDone}},
			{"windows", []fact{closed}},
			{"waiting", []fact{everythingDue, closed}},
			{"lost", []fact{func(w *world) {
				for _, m := range w.members {
					secretGone(m.name)(w)
				}
			}}},
		} {
			b.Run(fmt.Sprintf("parties=%d/%s", parties, c.name), func(b *testing.B) {
				w := settledOf(parties)
				for _, f := range c.premises {
					f(w)
				}
				o := w.observe()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Next(w.policy, o); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkNextInARekey times the decision in each phase of a re-key of 100 parties, with two bridges behind every leaf.
func BenchmarkNextInARekey(b *testing.B) {
	for _, c := range []struct {
		phase    string // of the plan that is timed
		until    string // the last turn that was taken
		premises []fact // after it
	}{
		{"at rest", "", nil},
		{"amid a renewal", "", []fact{everythingDue, halfDone}},
		{"preparing", "TrustNew", []fact{halfDone}},
		{"reissuing", "SwitchSigner", []fact{halfDone}},
		{"soaking", "", []fact{rekeyRequested(facts.Server, "1"), soak(24 * time.Hour), restInARekey}},
		{"retiring", "DropOld", []fact{halfDone}},
	} {
		b.Run("parties=100/"+strings.ReplaceAll(c.phase, " ", "-"), func(b *testing.B) {
			w := settledOf(100)
			if c.until != "" {
				rekeyRequested(facts.Server, "1")(w)
				untilTurn(b, w, c.until)
			}
			for _, f := range c.premises {
				f(w)
			}
			o := w.observe()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Next(w.policy, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// restInARekey lets a world come to rest, which a soak is.
func restInARekey(w *world) {
	if _, _, err := w.rest(20 * w.roundsToRest()); err != nil {
		panic(err)
	}
}

// untilTurn plays rounds until a turn was taken.
func untilTurn(b *testing.B, w *world, turn string) {
	b.Helper()
	for range 20 * w.roundsToRest() {
		planned, err := w.round(all)
		if err != nil {
			b.Fatal(err)
		}
		if slices.ContainsFunc(planned.Steps(), func(s plan.Step) bool { return s.Op() == turn }) {
			return
		}
	}
	b.Fatalf("%s was never taken", turn)
}

// BenchmarkCheck times the invariants before one step.
func BenchmarkCheck(b *testing.B) {
	for _, parties := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("parties=%d", parties), func(b *testing.B) {
			w := settledOf(parties)
			o := w.observe()
			step := plan.Activate{Party: "db-0", Pod: "db-0-0", Revision: w.member("db-0").secret.Revision}
			b.ReportAllocs()
			for b.Loop() {
				if v := invariant.Check(&o, step); v != nil {
					b.Fatal(v)
				}
			}
		})
	}
}

// settledOf is a settled world of so many parties.
func settledOf(parties int) *world {
	w := settledWorld()
	for i := 3; i < parties-2; i++ {
		w.join(i)
		m := w.member(fmt.Sprintf("db-%d", i))
		w.publish(m, facts.Domains())
		m.pods[0].install(m.secret, m.secret.Revision)
		w.handshake(m, m.pods[0])
	}
	return w
}

// halfDone renews the first half of the parties and asks the next one.
func halfDone(w *world) {
	for _, m := range w.members[:len(w.members)/2] {
		w.publish(m, facts.Domains())
		for _, c := range m.pods {
			c.install(m.secret, m.secret.Revision)
			w.handshake(m, c)
		}
	}
}

// TestNextIsLinear counts what cannot be timed honestly in a test: memory that
// grows with the square of the parties.
func TestNextIsLinear(t *testing.T) {
	allocations := func(parties int) float64 {
		w := settledOf(parties)
		everythingDue(w)
		w.now = w.now.Add(time.Hour)
		o := w.observe()
		return testing.AllocsPerRun(10, func() { _, _ = Next(w.policy, o) })
	}
	small, large := allocations(10), allocations(1000)
	if large > 120*small {
		t.Errorf("10 parties take %.0f allocations, 1000 take %.0f", small, large)
	}
}
