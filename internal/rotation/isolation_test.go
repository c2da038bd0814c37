package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// TestWalkIsolation is the invariant of that name: whatever one step fails for ever, no other party's leaf expires. A kind of step, all
// steps of a verb, or all for one object fail from some day on, through renewals, a re-key of each domain and a rename. Meanwhile
// the plan names object and cause, and each try comes later than the one before. When the cause is gone, the cluster comes to rest.
func TestWalkIsolation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &isolation{w: settledWorld(), hit: map[string]bool{}}
		h.w.policy.RetireSoak = time.Hour
		begins := rapid.IntRange(0, 40).Draw(t, "begins")
		wishes := h.wishes(t)
		for d := range 100 {
			if d == begins {
				h.begin(t)
			}
			for _, f := range wishes[d] {
				f(h.w)
			}
			h.day(t)
		}
		h.ends(t)
	})
}

type isolation struct {
	w   *world
	hit map[string]bool // parties for which some step failed
}

// begin makes something fail from now on. The pauses are longer than those of the executor, or a day would have 3,000 rounds.
func (h *isolation) begin(t *rapid.T) {
	these := map[string]func(plan.Step) bool{}
	for _, s := range []string{"CreateAuthority", "RestoreAuthority", "TrustNew", "SwitchSigner", "RollBack", "DropOld", "DiscardAuthority", "PublishTrust", "Publish", "Activate", "Prove"} {
		these[s] = ofOp(s)
	}
	for verb := range verbs {
		these["verb "+verb] = ofVerb(verb)
	}
	for _, m := range h.w.members {
		these["Publish "+m.name], these["all of "+m.name] = ofKey("Publish "+m.name), ofParty(m.name)
		for _, c := range m.pods {
			these["Activate "+c.name], these["Prove "+c.name] = ofKey("Activate "+c.name), ofKey("Prove "+c.name)
		}
	}
	strikes := these[rapid.SampledFrom(sortedKeys(these)).Draw(t, "what fails")]
	fails(func(s plan.Step) bool {
		if strikes(s) && partyOf(s) != "" {
			h.hit[partyOf(s)] = true
		}
		return strikes(s)
	})(h.w)
	h.w.trouble.longest = 7 * time.Hour
}

// wishes come on some days.
func (h *isolation) wishes(t *rapid.T) map[int][]fact {
	days := map[int][]fact{}
	for name, f := range map[string]fact{
		"re-key server": rekeyRequested(facts.Server, "1"), "re-key client": rekeyRequested(facts.Client, "1"),
		"rename": wantsName("db-2", "db-2.example.com"), "failover": func(w *world) { w.failover("db-1") },
		"copy deleted": func(w *world) { w.generations(facts.Server)[0].copy = facts.Store{} },
		"roll-back":    rollbackRequested(facts.Server, "2"), "pod ends": func(w *world) { _, c := w.pod("db-0-0"); c.restart() },
	} {
		d := rapid.IntRange(0, 90).Draw(t, name)
		days[d] = append(days[d], f)
	}
	return days
}

// day lives a day, and looks at every leaf every three hours.
func (h *isolation) day(t *rapid.T) {
	for until := h.w.now.Add(day); h.w.now.Before(until); {
		h.w.forgetFailures()
		planned, _, err := h.w.rest(h.w.roundsToRest())
		if err != nil {
			t.Fatal(err)
		}
		h.named(t, planned)
		wake := until
		if planned.Wake.After(h.w.now) && planned.Wake.Before(until) {
			wake = planned.Wake
		}
		h.w.now = h.w.now.Add(min(3*time.Hour, wake.Sub(h.w.now)))
		h.w.agents()
		h.othersLive(t)
	}
}

// named: what failed is named with object and cause, and the plan says that it waits.
func (h *isolation) named(t *rapid.T, planned plan.Plan) {
	for _, f := range h.w.trouble.observe() {
		if names(&planned, &f) && planned.State == plan.Waiting {
			continue
		}
		t.Fatalf("%s failed, and the plan is %s: %v", f.Step, planned.State, planned.Blockers)
	}
}

// othersLive: no party for which every step succeeds shows a leaf that has expired, or holds one.
func (h *isolation) othersLive(t *rapid.T) {
	for _, m := range h.w.members {
		if h.hit[m.name] {
			continue
		}
		for _, leaf := range m.secret.Leaves {
			if !h.w.now.Before(leaf.NotAfter) {
				t.Fatalf("Isolation: the %s leaf of %s expired on %s\n%s", leaf.Domain, m.name, leaf.NotAfter, h.story())
			}
		}
		for _, c := range m.pods {
			for domain, leaf := range c.shows {
				if c.started && !h.w.now.Before(leaf.NotAfter) {
					t.Fatalf("Isolation: %s shows a %s leaf that expired on %s\n%s", c.name, domain, leaf.NotAfter, h.story())
				}
			}
		}
	}
}

func (h *isolation) story() string {
	return strings.Join(h.w.log[max(0, len(h.w.log)-30):], "\n")
}

// ends: the cause is gone, and some days later nothing is left to be done.
func (h *isolation) ends(t *rapid.T) {
	if h.w.trouble != nil {
		succeeds(h.w)
	}
	for range 10 {
		h.day(t)
	}
	h.w.forgetFailures()
	planned, _, err := h.w.rest(h.w.roundsToRest())
	answered := []plan.Blocker{}
	for _, b := range planned.Blockers {
		if !b.Reason.Expected() {
			answered = append(answered, b)
		}
	}
	if err != nil || planned.State != plan.Steady || len(h.w.trouble.observe()) > 0 || len(planned.Rekeys) > 0 {
		t.Fatalf("the cause is gone, and the plan is %s, %v: %v %v\n%s", planned.State, err, answered, planned.Rekeys, h.story())
	}
}

// failed is a step that failed a while ago, and is not tried again yet.
func failed(s plan.Step) fact {
	return func(w *world) {
		if w.trouble == nil {
			fails(func(plan.Step) bool { return false })(w)
		}
		w.trouble.failures = append(w.trouble.failures, facts.Failure{Step: s.Key(), Object: "the object of " + s.Key(), Cause: "QuotaExceeded", Message: "QuotaExceeded", RetryAt: w.now.Add(time.Minute)})
	}
}

func waitsFor(s plan.Step) string { return "wait for the object of " + s.Key() + ": StepFailed" }

func TestAStepThatFailsKeepsNoOtherFromBeingTaken(t *testing.T) {
	trustNew := plan.TrustNew{Domain: facts.Server, Generation: 2}
	publish, trust, activate := plan.Publish{Party: "db-1"}, plan.PublishTrust{}, plan.Activate{Pod: "db-1-0"}
	restore := plan.RestoreAuthority{Domain: facts.Server, Generation: 1, Copy: true}
	run(t, []sentence{
		{"no new authority can be stored: leaves are renewed", []fact{rekeyRequested(facts.Server, "1"), failed(trustNew), due("db-1", facts.Client)},
			[]string{"publish db-1 [client]: Due", "activate db-1-0", waitsFor(trustNew)}, plan.Renewing},
		{"and the other domain's re-key may begin", []fact{rekeyRequested(facts.Server, "1"), rekeyRequested(facts.Client, "1"), failed(trustNew)},
			[]string{"trustnew client g2: Requested", waitsFor(trustNew)}, plan.Renewing},
		{"alone it is waited for", []fact{rekeyRequested(facts.Server, "1"), failed(trustNew)}, []string{waitsFor(trustNew)}, plan.Waiting},
		{"and tried again when its time has come", []fact{rekeyRequested(facts.Server, "1"), failed(trustNew), later(time.Minute)},
			[]string{"trustnew server g2: Requested", waitsFor(trustNew)}, plan.Renewing},
		{"what is not wanted any more is not named", []fact{failed(trustNew)}, nil, plan.Steady},
		{"the ConfigMap cannot be written: leaves are renewed", []fact{publicTrust(facts.Present, "stranger", "server-g1"), failed(trust), due("db-1", facts.Server)},
			[]string{"publish db-1 [server]: Due", "activate db-1-0", waitsFor(trust)}, plan.Renewing},
		{"also when there is none", []fact{publicTrust(facts.Missing), failed(trust), due("db-1", facts.Server)},
			[]string{"publish db-1 [server]: Due", "activate db-1-0", waitsFor(trust)}, plan.Renewing},
		{"but no authority is active that it does not hold", []fact{nextGeneration(facts.Server), trustedEverywhere, publicTrust(facts.Present, "server-g1"), failed(trust)},
			[]string{waitsFor(trust)}, plan.Waiting},
		{"one party's Secret cannot be written: the next is renewed in its own time", []fact{due("db-1", facts.Client), due("db-2", facts.Client), due("db-0", facts.Client), failed(publish)},
			[]string{"publish db-2 [client]: Due", "activate db-2-0", waitsFor(publish)}, plan.Renewing},
		{"one pod cannot be asked: the next is", []fact{published("db-1"), published("db-2"), failed(activate)},
			[]string{"activate db-2-0", waitsFor(activate)}, plan.Renewing},
		{"and the next party is renewed", []fact{published("db-1"), due("db-2", facts.Client), failed(activate)},
			[]string{"publish db-2 [client]: Due", "activate db-2-0", waitsFor(activate)}, plan.Renewing},
		{"a deleted Secret of an authority is restored beside a transition", []fact{deleteCopy(facts.Server), rekeyRequested(facts.Server, "1")},
			[]string{"restore copy of server g1: SecretMissing", "trustnew server g2: Requested"}, plan.Renewing},
		{"also beside one that fails", []fact{deleteCopy(facts.Server), rekeyRequested(facts.Server, "1"), failed(trustNew)},
			[]string{"restore copy of server g1: SecretMissing", waitsFor(trustNew)}, plan.Renewing},
		{"and when it cannot be, the re-key goes on", []fact{deleteCopy(facts.Server), rekeyRequested(facts.Server, "1"), failed(restore)},
			[]string{"trustnew server g2: Requested", waitsFor(restore)}, plan.Renewing},
	})
}

// A failure comes back as a fact, with object, cause and remedy, and each try later than the one before.
func TestAStepThatFailsIsTriedWithGrowingPauses(t *testing.T) {
	w := given(rekeyRequested(facts.Server, "1"), fails(ofOp("TrustNew")))
	if err := w.live(w.now.Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	tries := w.trouble.tries["TrustNew server g2"]
	var pauses []time.Duration
	for i := range tries[1:] {
		pauses = append(pauses, tries[i+1].Sub(tries[i]))
	}
	want := []time.Duration{1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30, 30}
	for i := range want {
		want[i] *= time.Second
	}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	text := message(decide(t, w), "the object of TrustNew server g2")
	for _, part := range []string{"TrustNew server g2", "QuotaExceeded", "raise the ResourceQuota"} {
		if !strings.Contains(text, part) {
			t.Errorf("the blocker %q does not say %q", text, part)
		}
	}
	before := decide(t, w)
	w.now = w.now.Add(time.Second)
	if diff := cmp.Diff(before.Blockers, decide(t, w).Blockers); diff != "" {
		t.Errorf("the blocker changes while nothing does (-before +after):\n%s", diff)
	}
	succeeds(w)
	if err := w.live(w.now.Add(time.Minute)); err != nil || w.authorities[facts.Server].generation != 2 {
		t.Errorf("the cause is gone: %v, g%d", err, w.authorities[facts.Server].generation)
	}
}

// A step that fails in the middle of a lane ends that lane alone.
func TestAFailureEndsItsLaneAlone(t *testing.T) {
	w := given(due("operator", facts.Client), due("db-1", facts.Client), fails(ofKey("Publish db-1")))
	if _, err := w.round(all); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(w.log, func(line string) bool { return strings.HasPrefix(line, "Activate db-1-0") }) || !slices.Contains(w.log, "Publish operator [client] (Due)") {
		t.Errorf("taken were %q", w.log)
	}
	if planned := decide(t, w); planned.State != plan.Waiting || !slices.ContainsFunc(planned.Blockers, func(b plan.Blocker) bool { return b.Reason == reason.StepFailed }) {
		t.Errorf("it says %s: %v", planned.State, fmt.Sprint(planned.Blockers))
	}
}
