package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// calendar is open for a length of time at every multiple of a period after an instant; a period of 0 is never.
type calendar struct {
	from          time.Time
	every, length time.Duration
	asked         int
}

func (c *calendar) Opening(t time.Time) time.Time {
	c.asked++
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

func (c *calendar) Closing(t time.Time) time.Time {
	since := t.Sub(c.from) % c.every
	return t.Add(c.length - since)
}

// open is a window of four hours a week that opens a while from now; a negative while: it has been open for so long.
func opensIn(d time.Duration) fact {
	return func(w *world) {
		w.policy.Windows = &calendar{from: w.now.Add(d - 1000*week), every: week, length: 4 * time.Hour}
	}
}

const week = 7 * day

var (
	closed      = opensIn(2 * day)
	windowOpen  = opensIn(-time.Hour)
	lastInstant = opensIn(-4*time.Hour + time.Nanosecond)
	justClosed  = opensIn(-4 * time.Hour)
)

func neverOpens(w *world) { w.policy.Windows = &calendar{} }

func windowsInvalid(why string) fact { return func(w *world) { w.policy.WindowsInvalid = why } }

func urgentBefore(d time.Duration) fact { return func(w *world) { w.policy.UrgentBefore = d } }

func resumed(w *world) { w.policy.Paused = false }

// windowsOf reads the words of a story.
func windowsOf(args []string) fact {
	return func(w *world) {
		switch args[0] {
		case "any":
			w.policy.Windows = nil
		case "never":
			neverOpens(w)
		default:
			value := func(name string) time.Duration {
				for _, arg := range args {
					if text, found := strings.CutPrefix(arg, name+"="); found {
						return span(text)
					}
				}
				panic("no " + name)
			}
			w.policy.Windows = &calendar{from: dawn.Add(value("from") - 1000*value("every")), every: value("every"), length: value("for")}
		}
	}
}

func awaits(party string) []string { return []string{"wait for " + party + ": AwaitingWindow"} }

func TestWhatWaitsForAWindow(t *testing.T) {
	run(t, []sentence{
		{"a leaf that is due", []fact{closed, due("db-1", facts.Client)}, awaits("db-1"), plan.Steady},
		{"another algorithm", []fact{closed, wantsAlgorithm("db-1", facts.Server, pki.RSA2048)}, awaits("db-1"), plan.Steady},
		{"an authority that is due", []fact{closed, beginsAt(facts.Server, 0)}, awaits("server ca g1"), plan.Steady},
		{"another algorithm of an authority", []fact{closed, wantsAuthority(facts.Server, pki.RSA2048)}, awaits("server ca g1"), plan.Steady},
		{"the switch of a planned re-key", []fact{nextGeneration(facts.Server), trustedEverywhere, closed}, awaits("server ca g2"), plan.Steady},
		{"the reissue of a planned re-key", []fact{nextGeneration(facts.Server), trustedEverywhere, switched(facts.Server, 2), closed}, awaits("db-1"), plan.Steady},
		{"the drop of a planned re-key", []fact{reissued, closed}, awaits("server ca g1"), plan.Steady},
		{"the drop after the soak, which is told first", []fact{reissued, soak(time.Hour), closed}, []string{"wait for server ca g1: AwaitingSoak"}, plan.Steady},
		{"the instant that it closes", []fact{justClosed, due("db-1", facts.Client)}, awaits("db-1"), plan.Steady},
		{"for ever, when none opens", []fact{neverOpens, due("db-1", facts.Client)},
			append(awaits("db-1"), "wait for db-1: WindowUnreachable"), plan.Steady},
		{"everything, while windows are not understood", []fact{windowsInvalid("x"), due("db-1", facts.Client), beginsAt(facts.Server, 0)},
			[]string{"wait for server ca g1: AwaitingWindow", "wait for db-1: AwaitingWindow", "wait for windows: PolicyInvalid"}, plan.Waiting},
	})
}

func TestWhatWaitsForNoWindow(t *testing.T) {
	publishes := func(party, leaves string, why reason.Code) []string {
		return []string{fmt.Sprintf("publish %s [%s]: %s", party, leaves, why), "activate " + party + "-0"}
	}
	run(t, []sentence{
		{"what is due in an open one", []fact{windowOpen, due("db-1", facts.Client)}, publishes("db-1", "client", reason.Due), plan.Renewing},
		{"what is due at its last instant", []fact{lastInstant, due("db-1", facts.Client)}, publishes("db-1", "client", reason.Due), plan.Renewing},
		{"what is due the instant it opens", []fact{opensIn(0), due("db-1", facts.Client)}, publishes("db-1", "client", reason.Due), plan.Renewing},
		{"an authority in an open one", []fact{windowOpen, beginsAt(facts.Server, 0)}, []string{"trustnew server g2: Due"}, plan.Renewing},
		{"the first issue", []fact{closed, secretGone("db-1")}, publishes("db-1", "server client", reason.Missing), plan.Renewing},
		{"repair", []fact{closed, garbled("db-1", facts.Client)}, publishes("db-1", "client", reason.Damaged), plan.Renewing},
		{"repair, and what is due beside it is kept", []fact{closed, garbled("db-1", facts.Server), due("db-1", facts.Client)},
			append(publishes("db-1", "server", reason.Damaged), awaits("db-1")...), plan.Renewing},
		{"a leaf of a clock that was ahead", []fact{closed, endsIn("db-1", facts.Client, clientLife+day)}, publishes("db-1", "client", reason.NotYetValid), plan.Renewing},
		{"names", []fact{closed, wantsName("db-1", "x")}, publishes("db-1", "server", reason.NamesChanged), plan.Renewing},
		{"a bundle, and what is due beside it is kept", []fact{closed, bundleGone("db-1", facts.Client), due("db-1", facts.Client)},
			append([]string{"publish db-1 []: TrustChanged"}, awaits("db-1")...), plan.Renewing},
		{"what was published already", []fact{published("db-1"), closed}, []string{"activate db-1-0"}, plan.Renewing},
		{"a request", []fact{closed, renewRequested("now")}, []string{"publish operator [client]: Requested",
			"publish db-1 [server client]: Requested", "activate db-1-0"}, plan.Renewing},
		{"a request, also for what is due", []fact{closed, due("db-1", facts.Client), renewRequested("now")}, []string{"publish operator [client]: Requested",
			"publish db-1 [server client]: Requested", "activate db-1-0"}, plan.Renewing},
		{"a request, also for another algorithm", []fact{closed, wantsAlgorithm("db-1", facts.Server, pki.RSA2048), renewRequested("now")}, []string{"publish operator [client]: Requested",
			"publish db-1 [server client]: KeyAlgorithmChanged", "activate db-1-0"}, plan.Renewing},
		{"a request for a new authority", []fact{closed, rekeyRequested(facts.Server, "1")}, []string{"trustnew server g2: Requested"}, plan.Renewing},
		{"a taint", []fact{closed, beginsAt(facts.Server, 0), tainted(facts.Server, 1)}, []string{"trustnew server g2: Tainted"}, plan.Renewing},
		{"a roll-back", []fact{nextGeneration(facts.Server), trustedEverywhere, closed, rollbackRequested(facts.Server, "1")}, []string{"rollback server g2: RolledBack"}, plan.Renewing},
		{"a lost authority", []fact{closed, authorityProblem(facts.Server, reason.AuthorityUnreadable)},
			[]string{"trustnew server g2: AuthorityUnreadable", "wait for server ca g1: AuthorityUnreadable"}, plan.Renewing},
		{"the switch of a re-key that was asked for", []fact{rekeyRequested(facts.Server, "1"), nextGeneration(facts.Server), trustedEverywhere, closed},
			[]string{"switchsigner server g2: Trusted"}, plan.Renewing},
		{"the switch of a planned one, once the user asks", []fact{nextGeneration(facts.Server), trustedEverywhere, closed, rekeyRequested(facts.Server, "1")},
			[]string{"switchsigner server g2: Trusted"}, plan.Renewing},
		{"the reissue of one that was asked for", []fact{rekeyRequested(facts.Server, "1"), nextGeneration(facts.Server), trustedEverywhere, switched(facts.Server, 2), closed},
			publishes("db-1", "server", reason.IssuerNotActive), plan.Renewing},
		{"the drop in one that was asked for", []fact{rekeyRequested(facts.Server, "1"), reissued, closed}, []string{"dropold server g1: Unused"}, plan.Renewing},
		{"the drop that a person approved", []fact{reissued, approved(facts.Server, 1), closed}, []string{"dropold server g1: Unused"}, plan.Renewing},
		{"the drop of a tainted one", []fact{reissued, tainted(facts.Server, 1), trustedEverywhere, closed}, []string{"dropold server g1: Unused"}, plan.Renewing},
	})
}

func TestUrgencyWaitsForNoWindow(t *testing.T) {
	publishes := []string{"publish db-1 [client]: Due", "activate db-1-0"}
	quarter := endsIn("db-1", facts.Client, clientWindow/4)
	run(t, []sentence{
		{"a quarter of renewBefore is left", []fact{closed, quarter}, publishes, plan.Renewing},
		{"a second more", []fact{opensIn(time.Hour), endsIn("db-1", facts.Client, clientWindow/4+time.Second)},
			append(awaits("db-1"), "wait for db-1: WindowUnreachable"), plan.Steady},
		{"a quarter, in a pause", []fact{paused, quarter}, publishes, plan.Renewing},
		{"a second more, in a pause", []fact{paused, endsIn("db-1", facts.Client, clientWindow/4+time.Second)}, []string{"wait for db-1: RotationPaused"}, plan.Steady},
		{"as the user says", []fact{opensIn(time.Hour), urgentBefore(day), quarter}, awaits("db-1"), plan.Steady},
		{"as the user says, reached", []fact{closed, urgentBefore(day), endsIn("db-1", facts.Client, day)}, publishes, plan.Renewing},
		{"windows that are not understood", []fact{windowsInvalid("x"), quarter}, append(slices.Clone(publishes), "wait for windows: PolicyInvalid"), plan.Renewing},
		{"an authority", []fact{closed, beginsAt(facts.Server, 0), urgentBefore(402 * day)}, []string{"trustnew server g2: Due", "wait for db-0: WindowUnreachable"}, plan.Renewing},
		{"the switch to its successor", []fact{authorityEndsIn(facts.Server, 10*day), nextGeneration(facts.Server), trustedEverywhere, closed, urgentBefore(10 * day)},
			[]string{"switchsigner server g2: Trusted", "publish db-1 [server]: Damaged", "publish db-2 [server]: Damaged", "publish pgbouncer [server]: Damaged", "publish db-0 [server]: Damaged",
				"activate db-1-0", "wait for db-0: WindowUnreachable"}, plan.Renewing},
	})
}

// What waited for a window keeps its order, however late it is: the gates open later than usual.
func TestWhatWaitedKeepsItsOrder(t *testing.T) {
	ends := func(in time.Duration) fact {
		return func(w *world) {
			for _, m := range w.members {
				endsIn(m.name, facts.Client, in)(w)
			}
		}
	}
	all := []string{"publish operator [client]: Due", "publish db-1 [client]: Due", "activate db-1-0"}
	run(t, []sentence{
		{"in a window beyond half of renewBefore", []fact{windowOpen, ends(clientWindow / 3)}, all, plan.Renewing},
		{"without a window, when it is urgent", []fact{closed, ends(clientWindow / 4)}, all, plan.Renewing},
		{"as the user says", []fact{paused, urgentBefore(day), ends(day)}, all, plan.Renewing},
		{"a long urgency changes nothing", []fact{closed, urgentBefore(9 * day), ends(clientWindow/2 + time.Second)}, all, plan.Renewing},
		{"but no certificate expires: half of that", []fact{closed, ends(clientWindow / 8)}, []string{
			"publish operator [client]: Due", "publish db-1 [client]: Due", "publish db-2 [client]: Due", "publish pgbouncer [client]: Due", "publish db-0 [client]: Due",
			"activate db-1-0", "activate db-2-0", "activate pgbouncer-x", "activate db-0-0"}, plan.Renewing},
	})
}

func TestWhatAPauseHolds(t *testing.T) {
	run(t, []sentence{
		{"a leaf that is due", []fact{paused, due("db-1", facts.Client)}, []string{"wait for db-1: RotationPaused"}, plan.Steady},
		{"also in an open window", []fact{windowOpen, paused, due("db-1", facts.Client)}, []string{"wait for db-1: RotationPaused"}, plan.Steady},
		{"not a request", []fact{paused, renewRequested("now")}, []string{"publish operator [client]: Requested",
			"publish db-1 [server client]: Requested", "activate db-1-0"}, plan.Renewing},
		{"not repair", []fact{paused, garbled("db-1", facts.Client)}, []string{"publish db-1 [client]: Damaged", "activate db-1-0"}, plan.Renewing},
		{"not the switch of a re-key under way", []fact{nextGeneration(facts.Server), trustedEverywhere, paused}, []string{"switchsigner server g2: Trusted"}, plan.Renewing},
		{"not its leaves", []fact{nextGeneration(facts.Server), trustedEverywhere, switched(facts.Server, 2), paused},
			[]string{"publish db-1 [server]: IssuerNotActive", "activate db-1-0"}, plan.Renewing},
		{"but a window holds these", []fact{nextGeneration(facts.Server), trustedEverywhere, switched(facts.Server, 2), paused, closed}, awaits("db-1"), plan.Steady},
		{"not its end", []fact{reissued, paused}, []string{"dropold server g1: Unused"}, plan.Renewing},
	})
}

// What waits wakes the operator the instant the window opens, or when it is urgent if that comes first.
func TestTheWakeIsTheOpening(t *testing.T) {
	for _, tc := range []struct {
		name     string
		premises []fact
		want     time.Duration
	}{
		{"a leaf", []fact{closed, due("db-1", facts.Client)}, 2 * day},
		{"an authority", []fact{closed, beginsAt(facts.Server, 0)}, 2 * day},
		{"urgent before it opens", []fact{closed, endsIn("db-1", facts.Client, clientWindow/4+time.Hour)}, time.Hour},
		{"urgent in a pause", []fact{paused, endsIn("db-1", facts.Client, clientWindow/4+time.Hour)}, time.Hour},
		{"nothing waits: no round begins for a window", []fact{closed}, given().renewalOf("db-0", facts.Client).Sub(dawn)},
		{"open, and held up by a pod: it closes", []fact{windowOpen, due("db-1", facts.Client), due("db-2", facts.Client), published("db-1"), slow("db-1-0"), asked("db-1-0")}, 3 * time.Hour},
	} {
		w := given(tc.premises...)
		if planned := decide(t, w); planned.Wake.Sub(w.now) != tc.want {
			t.Errorf("%s: wake in %s, want %s; %q", tc.name, planned.Wake.Sub(w.now), tc.want, words(planned))
		}
	}
}

// What began in a window is finished after it, and the next party does not begin.
func TestWhatBeganIsFinished(t *testing.T) {
	w := given(everythingDue, opensIn(-4*time.Hour+time.Second))
	if _, err := w.round(all); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute) // it is closed
	w.log = nil
	planned, _, err := w.rest(40)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Prove db-1-0 (Unproven)"}, w.log); diff != "" {
		t.Errorf("after it closed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(awaits("db-2"), words(planned)); diff != "" {
		t.Errorf("it waits for (-want +got):\n%s", diff)
	}
}

func TestAWindowThatComesTooLate(t *testing.T) {
	// Client leaves are due 19 to 20 days after the dawn, and urgent after 27.5; server leaves after 57 to 60, and 82.5.
	opensOnceAt := func(at time.Duration) fact {
		return func(w *world) {
			w.policy.Windows = &calendar{from: dawn.Add(at - 1000*day), every: 1000 * day, length: time.Hour}
		}
	}
	const late = "wait for db-0: WindowUnreachable"
	for _, tc := range []struct {
		name     string
		premises []fact
		want     []string
		says     string
	}{
		{"weekly, with the lives of the defaults", []fact{closed}, nil, ""},
		{"once, when the client leaves can be renewed, and never for the server's", []fact{opensOnceAt(24 * day)},
			[]string{late}, "the server leaf of db-0 and 3 more: to be renewed from 2031-03-01T12:21:58Z on and urgent at 2031-03-24T12:00:00Z, and no window opens between, the next one opens at 2033-10-21T00:00:00Z (Fri 00:00 UTC)"},
		{"too early for all", []fact{opensOnceAt(18 * day)}, []string{late}, "the client leaf of db-0 and 8 more"},
		{"too late for the client's", []fact{opensOnceAt(70 * day)}, []string{late}, "the client leaf of db-0 and 4 more: to be renewed from 2031-01-20T03"},
		{"never", []fact{neverOpens}, []string{late}, "no window opens between, none ever opens; it will be renewed outside of any: add to spec.tls.rotation.windows"},
		{"urgent as soon as it is due", []fact{closed, urgentBefore(20 * day)}, []string{late}, "urgent as soon as it is due, so that it waits for no window: shorten spec.tls.rotation.urgentBefore"},
		{"never an authority", []fact{beginsAt(facts.Server, 300*day), urgentBefore(day), opensOnceAt(100 * day)}, []string{"wait for server ca g1: WindowUnreachable", late}, "the server ca g1: to be renewed from"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := given(tc.premises...)
			planned := decide(t, w)
			var text []string
			for _, b := range planned.Blockers {
				text = append(text, b.Message)
			}
			if all := strings.Join(text, "\n"); tc.says == "" && all != "" || !strings.Contains(all, tc.says) {
				t.Errorf("want %q, got\n%s", tc.says, all)
			}
			if diff := cmp.Diff(tc.want, words(planned)); diff != "" || planned.State != plan.Steady {
				t.Errorf("%s, plan (-want +got):\n%s", planned.State, diff)
			}
		})
	}
}

// A weekly window is always met with the lives of the defaults, on whatever day it opens.
func TestAWeeklyWindowIsAlwaysMet(t *testing.T) {
	for hours := range 7 * 24 {
		if planned := decide(t, given(opensIn(time.Duration(hours)*time.Hour))); len(planned.Blockers) > 0 {
			t.Errorf("opening in %d hours: %v", hours, planned.Blockers)
		}
	}
}

// windows are what the user changes while anything goes on.
func (h *history) windows(t *rapid.T) {
	h.w.policy.Windows, h.w.policy.Paused, h.w.policy.UrgentBefore = nil, rapid.Bool().Draw(t, "paused"), 0
	if rapid.Bool().Draw(t, "urgentBefore") {
		h.w.policy.UrgentBefore = time.Duration(rapid.IntRange(24, 15*24).Draw(t, "hours")) * time.Hour
	}
	if rapid.Bool().Draw(t, "windows") {
		every := time.Duration(rapid.IntRange(0, 20*24).Draw(t, "every")) * time.Hour
		from := dawn.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "from"))*time.Hour - 10000*day)
		h.w.policy.Windows = &calendar{from: from, every: every, length: every/10 + time.Second}
	}
}

// mustWait is docs/rotation.md read aloud: all that is wrong with a leaf is planned, it is not urgent, and nothing planned may begin.
func (h *history) mustWait(m *member, domain facts.Domain) bool {
	policy := &h.w.policy
	if !policy.Paused && (policy.Windows == nil || policy.Windows.Opening(h.w.now).Equal(h.w.now)) {
		return false
	}
	for _, why := range h.reasons(m, domain) {
		if why != reason.Due && why != reason.KeyAlgorithmChanged {
			return false
		}
	}
	enough := policy.UrgentBefore
	for _, want := range m.wants {
		if want.Domain == domain && enough == 0 {
			enough = want.RenewBefore / 4
		}
	}
	return m.leaf(domain).NotAfter.Sub(h.w.now) > enough
}

// A schedule is read a few times for a decision, and not for each party.
func TestWindowsAreAskedFewTimes(t *testing.T) {
	for name, f := range map[string]fact{
		"steady": closed, "due and closed": func(w *world) { everythingDue(w); closed(w) }, "due and open": func(w *world) { everythingDue(w); windowOpen(w) },
		"never": neverOpens,
		"of all ages": func(w *world) {
			closed(w)
			for i, m := range w.members {
				shift(w, m.name, facts.Client, -time.Duration(i)*day/6)
			}
		},
	} {
		w := settledOf(100)
		f(w)
		c := w.policy.Windows.(*calendar)
		c.asked = 0
		decide(t, w)
		if c.asked > 12 {
			t.Errorf("%s: asked %d times for 100 parties", name, c.asked)
		}
	}
}
