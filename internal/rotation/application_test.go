package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/revocation"
)

// alice and bob have certificates. The settled world has issued nine leaves.
func aliceAndBob(f ...fact) []fact { return append([]fact{issued("alice"), issued("bob")}, f...) }

const aliceHas, bobHas = "s10", "s11"

// patience is how long a revocation goes through the gates: docs/client-certificates.md says five seconds.
const patience = 5 * time.Second

func TestAnApplicationHasItsCertificate(t *testing.T) {
	run(t, []sentence{
		{"nothing, when everything is as wanted", aliceAndBob(), nil, plan.Steady},
		{"missing", []fact{application("alice")}, []string{"publish user-alice [client]: Missing"}, ""},
		{"due", aliceAndBob(due("user-alice", facts.Client)), []string{"publish user-alice [client]: Due"}, ""},
		{"expired", aliceAndBob(endsIn("user-alice", facts.Client, 0)), []string{"publish user-alice [client]: Due"}, ""},
		{"requested", []fact{issued("alice"), renewRequested("now")},
			[]string{"publish operator [client]: Requested", "publish user-alice [client]: Requested", "publish db-1 [server client]: Requested", "activate db-1-0"}, ""},
		{"garbled", aliceAndBob(garbled("user-bob", facts.Client)), []string{"publish user-bob [client]: Damaged"}, ""},
		{"without the bundle that servers are verified with", aliceAndBob(bundleGone("user-bob", facts.Server)), []string{"publish user-bob []: TrustChanged"}, ""},
		{"a pod that does not confirm holds it up no more than the operator's", aliceAndBob(due("user-alice", facts.Client), published("db-1"), unreachable("db-1-0")),
			[]string{"publish user-alice [client]: Due", "wait for db-1-0: AgentUnreachable"}, ""},
		{"a Secret owned by another controller", aliceAndBob(foreignSecret("user-alice")), []string{"wait for user-alice: ForeignSecret"}, ""},
		{"nothing is issued that cannot be noted", []fact{application("alice"), ledgerUnreadable}, []string{"wait for client certificates: LedgerUnreadable"}, ""},
	})
}

func TestWhatIsRevoked(t *testing.T) {
	lists, canary := []string{"publish db-1 []: Revoked", "publish db-2 []: Revoked", "publish db-0 []: Revoked"}, "activate db-1-0"
	with := func(first ...string) []string { return append(append(first, lists...), canary) }
	run(t, []sentence{
		{"what was issued before", aliceAndBob(later(time.Minute), revokeBefore("alice", 0)),
			with("revoke [s10]: Requested", "publish user-alice [client]: Revoked"), ""},
		{"also what was replaced", aliceAndBob(replaced("alice"), later(time.Minute), revokeBefore("alice", 0)),
			with("revoke [s10 s12]: Requested", "publish user-alice [client]: Revoked"), ""},
		{"not what was issued then or later", aliceAndBob(later(time.Minute), replaced("alice"), revokeBefore("alice", 0)),
			with("revoke [s10]: Requested"), ""},
		{"nothing before the time has come", aliceAndBob(later(time.Minute), revokeBefore("alice", time.Second)), nil, plan.Steady},
		{"a certificate that no user is to have any more", aliceAndBob(userGone("alice")),
			[]string{"revoke [s10]: Unwanted", lists[0], lists[1], lists[2], canary}, ""},
		{"its Secret is deleted once that is noted", aliceAndBob(userGone("alice"), revoked(aliceHas)), append(slices.Clone(lists), "discard user-alice", canary), ""},
		{"not what cannot be noted", aliceAndBob(userGone("alice"), ledgerUnreadable), []string{"wait for client certificates: LedgerUnreadable"}, ""},
	})
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", time.Hour))...)
	if planned := decide(t, w); !planned.Wake.Equal(w.now.Add(time.Hour)) {
		t.Errorf("wakes at %s, want in an hour", planned.Wake)
	}
}

// revoked is a certificate whose revocation is noted.
func revoked(serial string) fact {
	return func(w *world) {
		if err := w.application(plan.Revoke{Serials: []string{serial}}); err != nil {
			panic(err)
		}
	}
}

// entry is what the ledger says of a certificate.
func (w *world) entry(t *testing.T, serial string) facts.Issued {
	t.Helper()
	for _, entry := range w.ledger.Issued {
		if entry.Serial == serial {
			return entry
		}
	}
	t.Fatalf("%s is not in the ledger", serial)
	return facts.Issued{}
}

func mustRest(t *testing.T, w *world) plan.Plan {
	t.Helper()
	planned, _, err := w.rest(w.roundsToRest())
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

const everywhere = "db-0-0 db-1-0 db-2-0"

func TestARevokedCertificateIsRefusedEverywhereAndNoOther(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	for _, serial := range []string{aliceHas, bobHas} {
		if in := w.letIn(w.entry(t, serial)); in != everywhere {
			t.Fatalf("%s is let in by %q before", serial, in)
		}
	}
	planned := mustRest(t, w)
	got := map[string]string{}
	for _, entry := range w.ledger.Issued {
		got[entry.User+" "+entry.Serial] = w.letIn(entry)
	}
	if diff := cmp.Diff(map[string]string{"alice s10": "", "bob s11": everywhere, "alice s12": everywhere}, got); diff != "" {
		t.Errorf("users that are let in (-want +got):\n%s", diff)
	}
	terminated := strings.Count(strings.Join(w.log, "\n"), "EndSessions")
	if terminated != 3 || !planned.Wake.Equal(w.now.Add(revocation.AuthenticationTimeout)) {
		t.Errorf("sessions were ended %d times, and it wakes at %s: want each pod's once, and once more in %s", terminated, planned.Wake, revocation.AuthenticationTimeout)
	}
	later(revocation.AuthenticationTimeout)(w)
	mustRest(t, w)
	if again := strings.Count(strings.Join(w.log, "\n"), "EndSessions"); again != 6 {
		t.Errorf("sessions were ended %d times in all, want each pod's twice", again)
	}
	later(time.Hour)(w)
	if planned := decide(t, w); len(planned.Steps()) > 0 {
		t.Errorf("it is not at rest: %q", words(planned))
	}
}

func TestSessionsAreEndedWhereTheListsAreLoaded(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0), unreachable("db-2-0"))...)
	mustRest(t, w)
	log := strings.Join(w.log, "\n")
	if !strings.Contains(log, "EndSessions db-1-0") || strings.Contains(log, "EndSessions db-2-0") {
		t.Errorf("want the sessions of db-1-0 ended, and not those of db-2-0, of which nothing is known:\n%s", log)
	}
}

// A pod that is broken keeps the others from refusing a revoked certificate no longer than some seconds, unless it may be broken
// because of the lists.
func TestABrokenPodDoesNotHoldUpARevocation(t *testing.T) {
	revoked := func(f ...fact) *world {
		w := given(aliceAndBob(append(f, later(time.Minute), revokeBefore("alice", 0))...)...)
		mustRest(t, w)
		return w
	}
	w := revoked(unreachable("db-1-0"))
	if in := w.letIn(w.entry(t, aliceHas)); in != everywhere {
		t.Fatalf("at once it is let in by %q", in)
	}
	if planned := decide(t, w); !planned.Wake.Equal(w.now.Add(patience)) {
		t.Errorf("it wakes at %s, want after %s", planned.Wake, patience)
	}
	later(patience)(w)
	mustRest(t, w)
	if in := w.letIn(w.entry(t, aliceHas)); in != "db-1-0" {
		t.Errorf("after %s it is let in by %q, want the broken pod alone", patience, in)
	}

	w = revoked()
	later(time.Minute)(w)
	revokeBefore("bob", 0)(w)
	w.after = func() { // the canary refuses even the operator
		_, c := w.pod("db-1-0")
		for i := range c.proofs {
			if slices.Contains(c.active.Revoked["client-g1-key"], bobHas) {
				c.proofs[i].Fingerprint, c.proofs[i].Problem = "", "refused"
			}
		}
	}
	mustRest(t, w)
	later(patience)(w)
	if planned := mustRest(t, w); len(planned.Blockers) == 0 || planned.Blockers[0].Party != "db-1-0" {
		t.Errorf("it waits for %q", words(planned))
	}
	if in := w.letIn(w.entry(t, bobHas)); in != "db-0-0 db-2-0" {
		t.Errorf("bob is let in by %q", in)
	}
}

// One pod goes first; when it was seen to be well with the lists, the others follow together.
func TestOnePodLoadsTheListsFirst(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	var asked []string
	for range 6 {
		planned, err := w.round(all)
		if err != nil {
			t.Fatal(err)
		}
		together := ""
		for _, step := range planned.Steps() {
			if isA[plan.Activate](step) {
				together += podOf(step) + " "
			}
		}
		if together != "" {
			asked = append(asked, together)
		}
	}
	if diff := cmp.Diff([]string{"db-1-0 ", "db-2-0 db-0-0 "}, asked); diff != "" {
		t.Errorf("asked, round by round (-want +got):\n%s", diff)
	}
}

// A renewal long after a revocation goes through the gates.
func TestWhatIsRevokedLongAgoOpensNoGate(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	mustRest(t, w)
	later(time.Hour)(w)
	mustRest(t, w)
	unreachable("db-1-0")(w)
	renewRequested("now")(w)
	mustRest(t, w)
	if log := strings.Join(w.log, "\n"); strings.Count(log, "Activate db-2-0") != 1 {
		t.Errorf("a pod is asked to activate a renewal although the canary is not settled:\n%s", log)
	}
}

// A list that has served its time is taken away with the next write, and not by one of its own.
func TestListsEndWithWhatIsOnThem(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	mustRest(t, w)
	later(revocation.AuthenticationTimeout)(w)
	mustRest(t, w)
	if err := w.live(w.entry(t, aliceHas).NotAfter.Add(clientLife)); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.members {
		if m.secret.Revoked != nil {
			t.Errorf("%s still has %v", m.name, m.secret.Revoked)
		}
	}
}

func TestListsAreForAllIssuersOrNone(t *testing.T) {
	asked := func(f ...fact) []fact { return append(aliceAndBob(f...), later(time.Minute), revokeBefore("alice", 0)) }
	noted := []string{"revoke [s10]: Requested", "publish user-alice [client]: Revoked"}
	run(t, []sentence{
		{"an authority from elsewhere has none", asked(corporateTrusted), append(noted, "wait for client-corporate: CRLMissing"), ""},
		{"and is not trusted meanwhile", asked(corporateWanted), append(noted, "publish db-1 []: Revoked", "publish db-2 []: Revoked", "publish db-0 []: Revoked", "activate db-1-0", "wait for client-corporate: CRLMissing"), ""},
		{"nor has an authority that has lost its key", asked(nextGeneration(facts.Client), trustedEverywhere, switched(facts.Client, 2), authorityProblem(facts.Client, reason.AuthorityUnreadable)),
			[]string{"revoke [s10]: Requested", "publish operator [client]: IssuerNotActive", "publish user-alice [client]: Revoked", "publish user-bob [client]: IssuerNotActive",
				"publish db-1 [client]: IssuerNotActive", "activate db-1-0", "wait for client ca g1: CRLMissing"}, ""},
	})
}

func TestWhatIsRevokedStaysSoWhenTheLedgerCannotBeRead(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	mustRest(t, w)
	revoked := w.entry(t, aliceHas)
	ledgerUnreadable(w)
	later(5 * day)(w)
	renewRequested("now")(w)
	mustRest(t, w)
	if in := w.letIn(revoked); in != "" {
		t.Errorf("after a renewal it is let in by %s", in)
	}
}

// As long as PostgreSQL checks lists, nothing is trusted that has none: no agent would take such material.
func TestAnAuthorityFromElsewhereWaitsForTheListsToEnd(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	mustRest(t, w)
	corporateWanted(w)
	if diff := cmp.Diff([]string{"wait for client-corporate: CRLMissing"}, words(decide(t, w))); diff != "" {
		t.Fatalf("plan (-want +got):\n%s", diff)
	}
	later(revocation.AuthenticationTimeout)(w)
	if err := w.live(w.entry(t, aliceHas).NotAfter.Add(clientLife)); err != nil {
		t.Fatal(err)
	}
	if len(w.record) == 0 {
		t.Errorf("the lists have ended, and it is still waited for: %q", words(decide(t, w)))
	}
}

// What is revoked stays refused while the authority is replaced, at every instant, and everybody else is let in; the agents
// take every revision, for there is a list for each anchor.
func TestListsThroughARekey(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	mustRest(t, w)
	revoked, bob := w.entry(t, aliceHas), w.entry(t, bobHas)
	rekeyRequested(facts.Client, "1")(w)
	approved(facts.Client, 1)(w)
	w.after = func() {
		if in := w.letIn(revoked); in != "" {
			t.Fatalf("after %q the revoked certificate is let in by %s", w.log[len(w.log)-1], in)
		}
		if in := w.letIn(bob); in != everywhere && w.generation(facts.Client, 2) == nil {
			t.Fatalf("after %q bob is let in by %q alone", w.log[len(w.log)-1], in)
		}
	}
	turns := turnsOf(t, w)
	if len(turns) != 4 {
		t.Fatalf("turns %q", turns)
	}
	for _, m := range w.members {
		if m.secret.Revoked != nil {
			t.Errorf("%s has lists although nothing is revoked of what is trusted: %v", m.name, m.secret.Revoked)
		}
	}
	if in := w.letIn(w.ledger.Issued[len(w.ledger.Issued)-1]); in != everywhere {
		t.Errorf("what was issued last is let in by %q", in)
	}
}

// A lost authority must not be kept in place by the list that it cannot sign.
func TestALostAuthorityIsReplacedAlthoughSomethingIsRevoked(t *testing.T) {
	w := given(aliceAndBob(later(time.Minute), revokeBefore("alice", 0))...)
	mustRest(t, w)
	later(time.Minute)(w)
	authorityProblem(facts.Client, reason.AuthorityUnreadable)(w)
	revokeBefore("bob", 0)(w)
	turns := turnsOf(t, w)
	if diff := cmp.Diff([]string{"wait for client ca g1: CRLMissing", "wait for client ca g1: CertificatesOutstanding"}, words(decide(t, w))); diff != "" {
		t.Errorf("what alice had last may be in use, plan (-want +got):\n%s", diff)
	}
	approved(facts.Client, 1)(w)
	if turns = append(turns, turnsOf(t, w)...); len(turns) != 4 || !strings.HasPrefix(turns[3], "DiscardAuthority client g1") {
		t.Fatalf("turns %q, waiting for %q", turns, words(decide(t, w)))
	}
}

// replacedByNew: the client authority g2 signs, everything is reissued, and of g1 only what applications may have kept is left.
func replacedByNew(f ...fact) []fact { return append([]fact{issued("alice"), reissuedClients}, f...) }

func TestNoClientIsCutOffThatMayHoldAnOldCertificate(t *testing.T) {
	turn, wait := []string{"dropold client g1: Unused"}, []string{"wait for client ca g1: CertificatesOutstanding"}
	run(t, []sentence{
		{"what was replaced is accepted until it ends", replacedByNew(), wait, plan.Steady},
		{"also when the soak is over", replacedByNew(soak(time.Hour), later(2*time.Hour)), wait, plan.Steady},
		{"it has ended", replacedByNew(later(clientLife), endsLater), turn, plan.Renewing},
		{"a person knows better", replacedByNew(approved(facts.Client, 1)), turn, plan.Renewing},
		{"it must not be trusted anyway", replacedByNew(tainted(facts.Client, 1), trustedEverywhere), turn, plan.Renewing},
		{"the ledger is unreadable", replacedByNew(ledgerUnreadable), []string{"wait for client certificates: LedgerUnreadable"}, plan.Waiting},
	})
	w := given(replacedByNew()...)
	planned, err := without(guardLedger).Next(w.policy, w.observe())
	if diff := cmp.Diff(turn, words(planned)); err != nil || diff != "" {
		t.Errorf("without %q: %v, plan (-want +got):\n%s", guardLedger, err, diff)
	}
	if text := message(decide(t, given(replacedByNew()...)), "client ca g1"); !strings.Contains(text, "1 certificate of client g1 may be in use until 2031-01-31T00:00:00Z, the last is s10 of user alice") {
		t.Errorf("it says %q", text)
	}
}

// endsLater keeps everything but what was replaced from ending.
func endsLater(w *world) {
	for _, m := range w.members {
		for _, want := range m.wants {
			endsIn(m.name, want.Domain, want.Life-time.Hour)(w)
		}
	}
}

// With the revocation of what is outstanding the drop does not wait either.
func TestRevocationEndsTheWaitForWhatIsOutstanding(t *testing.T) {
	w := given(replacedByNew(later(time.Minute), replaced("alice"), revokeBefore("alice", 0))...)
	mustRest(t, w)
	log := strings.Join(w.log, "\n")
	if revoked, dropped := strings.Index(log, "Revoke [s10"), strings.Index(log, "DropOld client g1"); revoked < 0 || dropped < revoked {
		t.Errorf("want the revocation and then the drop:\n%s", log)
	}
}

func TestRevocationsAreToldApart(t *testing.T) {
	tests := []struct {
		have, want facts.Revocations
		holds      bool
	}{
		{nil, nil, true},
		{nil, facts.Revocations{"k1": nil}, false},
		{facts.Revocations{"k1": nil}, facts.Revocations{"k1": nil}, true},
		{facts.Revocations{"k1": {"a", "b"}}, facts.Revocations{"k1": {"b"}}, true},
		{facts.Revocations{"k1": {"a"}}, facts.Revocations{"k1": {"a", "b"}}, false},
		{facts.Revocations{"k1": {"a"}}, facts.Revocations{"k1": {"a"}, "k2": nil}, false},
	}
	for _, test := range tests {
		if got := test.have.Holds(test.want); got != test.holds {
			t.Errorf("%v holds %v: %v", test.have, test.want, got)
		}
	}
	if a, b := fmt.Sprint(facts.Revocations{"k1": {"a"}}), fmt.Sprint(facts.Revocations{"k2": {"a"}}); a == b {
		t.Errorf("lists of different authorities are both called %s", a)
	}
}
