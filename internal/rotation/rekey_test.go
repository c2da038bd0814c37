package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// beginsAt makes an authority due for a re-key this second.
func beginsAt(domain facts.Domain, shift time.Duration) fact {
	return func(w *world) {
		policy := w.policy.Authorities[domain]
		policy.RenewBefore = policy.Life / 2
		w.policy.Authorities[domain] = policy
		a := w.authorities[domain]
		due := pki.RenewalTime(a.certificate.NotBefore, a.certificate.NotAfter, policy.RenewBefore, facts.AuthorityName(domain, 1))
		a.certificate.NotBefore, a.certificate.NotAfter = a.certificate.NotBefore.Add(w.now.Sub(due)+shift), a.certificate.NotAfter.Add(w.now.Sub(due)+shift)
	}
}

// rolledBack is what an authority remembers of the last generation that was rolled back in its favour and dropped.
func rolledBack(domain facts.Domain, generation int) fact {
	return func(w *world) { w.authorities[domain].marks.RolledBack = generation }
}

// beingRolledBack is a generation that was rolled back and is not dropped yet.
func beingRolledBack(domain facts.Domain, generation int) fact {
	return func(w *world) { w.generation(domain, generation).marks.RollbackReason = reason.RolledBack }
}

func dropped(domain facts.Domain, generation int) fact {
	return func(w *world) { w.authorities[domain].marks.Retired = []int{generation} }
}

func paused(w *world) { w.policy.Paused = true }

func wantsAuthority(domain facts.Domain, algorithm pki.Algorithm) fact {
	return func(w *world) {
		w.authorities[domain].certificate.Algorithm = pki.ECDSAP256
		policy := w.policy.Authorities[domain]
		policy.Algorithm = algorithm
		w.policy.Authorities[domain] = policy
	}
}

func TestWhatBeginsARekey(t *testing.T) {
	run(t, []sentence{
		{"half of its life", []fact{beginsAt(facts.Server, 0)}, []string{"trustnew server g2: Due"}, plan.Renewing},
		{"a second before", []fact{beginsAt(facts.Server, time.Second)}, nil, plan.Steady},
		{"a request", []fact{rekeyRequested(facts.Client, "1")}, []string{"trustnew client g2: Requested"}, plan.Renewing},
		{"another key", []fact{wantsAuthority(facts.Server, pki.RSA2048)}, []string{"trustnew server g2: KeyAlgorithmChanged"}, plan.Renewing},
		{"a taint", []fact{tainted(facts.Server, 1)}, []string{"trustnew server g2: Tainted"}, plan.Renewing},
		{"a taint of another generation", []fact{tainted(facts.Server, 2)}, nil, plan.Steady},
		{"both domains at once: one after the other", []fact{rekeyRequested(facts.Client, "1"), rekeyRequested(facts.Server, "1")},
			[]string{"trustnew server g2: Requested", "wait for client ca g1: AwaitingOtherDomain"}, plan.Renewing},
		{"while the other domain's is under way", []fact{nextGeneration(facts.Client), trustedEverywhere, unreachable("db-1-0"), rekeyRequested(facts.Server, "1")},
			[]string{"wait for server ca g1: AwaitingOtherDomain", "wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"paused", []fact{paused, beginsAt(facts.Server, 0)}, []string{"wait for server ca g1: RotationPaused"}, plan.Steady},
		{"paused, and asked for", []fact{paused, rekeyRequested(facts.Server, "1")}, []string{"trustnew server g2: Requested"}, plan.Renewing},
		{"paused, in an emergency", []fact{paused, tainted(facts.Server, 1)}, []string{"trustnew server g2: Tainted"}, plan.Renewing},
		{"due again after a roll-back", []fact{rolledBack(facts.Server, 2), beginsAt(facts.Server, 0)}, []string{"wait for server ca g1: RekeyRolledBack"}, plan.Steady},
		{"asked for after a roll-back: the number is not used again", []fact{rolledBack(facts.Server, 2), rekeyRequested(facts.Server, "2")},
			[]string{"trustnew server g3: Requested"}, plan.Renewing},
		{"asked for when the last one was lost and dropped, and nothing but the note is left of it", []fact{dropped(facts.Server, 2), rekeyRequested(facts.Server, "2")},
			[]string{"trustnew server g3: Requested"}, plan.Renewing},
	})
}

func TestWhatASwitchWaitsFor(t *testing.T) {
	ready := []fact{nextGeneration(facts.Server), trustedEverywhere}
	with := func(f ...fact) []fact { return append(slices.Clone(ready), f...) }
	turn := []string{"switchsigner server g2: Trusted"}
	run(t, []sentence{
		{"nothing", ready, turn, plan.Renewing},
		{"a pod that says nothing", with(unreachable("db-1-0")), []string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"a pod that was not seen", with(unproven("db-1-0")), []string{"prove db-1-0"}, plan.Renewing},
		{"a pod that serves something else", with(servesOld("db-1-0")), slices.Repeat([]string{"wait for db-1-0: StillServingOld"}, 3), plan.Waiting},
		{"a pod whose process has not loaded it", with(bundleLoaded("db-1-0", facts.Server, "server-g1")), []string{"wait for db-1-0: TrustNotLoaded"}, plan.Waiting},
		{"a pod of which that is unknown", with(bundleLoaded("db-1-0", facts.Server)), []string{"wait for db-1-0: TrustNotLoaded"}, plan.Waiting},
		{"the ConfigMap", with(publicTrust(facts.Present, "server-g1")), []string{"publish ca: TrustChanged"}, plan.Renewing},
		{"a bundle", with(bundleReplaced("operator", facts.Server, "server-g1")), []string{"publish operator []: TrustChanged"}, plan.Renewing},
		{"not for a pod that has not started", with(notStarted("db-1-0")), turn, plan.Renewing},
		{"never for one that is tainted: it is rolled back", with(tainted(facts.Server, 2)), []string{"rollback server g2: Tainted", "publish db-1 []: ChainChanged", "activate db-1-0"}, plan.Renewing},
		{"not for what is owned by another controller", with(foreignSecret("db-1")), append(slices.Clone(turn), "wait for db-1: ForeignSecret"), plan.Renewing},
	})
}

// reissued goes on until nothing is the old authority's any more.
func reissued(w *world) {
	nextGeneration(facts.Server)(w)
	trustedEverywhere(w)
	switched(facts.Server, 2)(w)
	for _, m := range w.members {
		if m.leaf(facts.Server) != nil {
			w.publish(m, []facts.Domain{facts.Server})
		}
	}
	trustedEverywhere(w)
}

func TestWhatDroppingTheOldWaitsFor(t *testing.T) {
	with := func(f ...fact) []fact { return append([]fact{reissued}, f...) }
	turn := []string{"dropold server g1: Unused"}
	run(t, []sentence{
		{"nothing", with(), turn, plan.Renewing},
		{"the soak", with(soak(time.Hour)), []string{"wait for server ca g1: AwaitingSoak"}, plan.Steady},
		{"not for the rest of a soak that is over", with(soak(time.Hour), later(time.Hour)), turn, plan.Renewing},
		{"a person", with(func(w *world) { w.policy.RetireManual = true }), []string{"wait for server ca g1: AwaitingApproval"}, plan.Steady},
		{"not for a person who approved", with(func(w *world) { w.policy.RetireManual = true }, approved(facts.Server, 1)), turn, plan.Renewing},
		{"a person who approved another one", with(func(w *world) { w.policy.RetireManual = true }, approved(facts.Server, 2)), []string{"wait for server ca g1: AwaitingApproval"}, plan.Steady},
		{"not for the soak of a tainted one", with(soak(time.Hour), tainted(facts.Server, 1), trustedEverywhere), turn, plan.Renewing},
		{"not for the soak when the new one is tainted and to be replaced itself", with(soak(time.Hour), tainted(facts.Server, 2)), turn, plan.Renewing},
		{"a pod that says nothing", with(unreachable("db-1-0")), []string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"a leaf that it issued", with(func(w *world) { w.member("db-1").leaf(facts.Server).IssuerKeyID = "server-g1-key" }, trustedEverywhere),
			[]string{"publish db-1 [server]: IssuerNotActive", "activate db-1-0"}, plan.Renewing},
	})
}

// lostGeneration is a Secret that was deleted with its finalizer, and every note with it.
func lostGeneration(domain facts.Domain, n int) fact {
	return func(w *world) {
		a := w.generation(domain, n)
		a.problem, a.marks, a.forward, a.backward = reason.AuthorityLost, facts.Marks{}, facts.Bridge{}, facts.Bridge{}
	}
}

// When the signer is lost, it is unknown whether the one before was dropped already. It signs at once only when
// everybody is known to trust it.
func TestWhoSignsWhenTheNewestIsLost(t *testing.T) {
	lost := func(f ...fact) []fact {
		return append([]fact{reissued, lostGeneration(facts.Server, 2), func(w *world) { trustedEverywhere(w) }}, f...)
	}
	wait := "wait for server ca g2: AuthorityLost"
	run(t, []sentence{
		{"the one before, whose leaves are published", []fact{nextGeneration(facts.Server), trustedEverywhere, switched(facts.Server, 2), lostGeneration(facts.Server, 2), trustedEverywhere},
			[]string{"dropold server g2: Unused"}, plan.Renewing},
		{"the one before, which everybody trusts", lost(), []string{
			"publish db-1 [server]: IssuerNotActive", "activate db-1-0"}, plan.Renewing},
		{"none, when the lost one was rolled back to, and a pod has not loaded the one that was rolled back",
			[]fact{nextGeneration(facts.Server), trustedEverywhere, switched(facts.Server, 2), rolledBack(facts.Server, 2), authorityProblem(facts.Server, reason.AuthorityLost), func(w *world) {
				w.authorities[facts.Server].marks = facts.Marks{}
			}, bundleLoaded("db-1-0", facts.Server, "server-g1")},
			[]string{"wait for server ca g1: AuthorityLost", "wait for db-1-0: TrustNotLoaded"}, plan.Waiting},
		{"none, while a pod has loaded the lost one alone", lost(bundleLoaded("db-1-0", facts.Server, "server-g2")),
			[]string{wait, "wait for db-1-0: TrustNotLoaded"}, plan.Waiting},
		{"none, while a pod is about to load something else", lost(usesWhatWasBefore("db-1-0")),
			[]string{wait, "wait for db-1-0: AwaitingActivation"}, plan.Waiting},
	})
}

// usesWhatWasBefore is a pod whose agent has not come to what is published.
func usesWhatWasBefore(pod string) fact {
	return of(pod, func(c *container) { c.active = cloneMaterial(c.active); c.active.Revision = "before" })
}

func TestALeftoverHoldsUpTheDrop(t *testing.T) {
	w := given(reissued)
	o := w.observe()
	o.Leftovers = []facts.Leftover{{Party: "db-9", Domain: facts.Server, IssuerKeyID: "server-g1-key"}}
	planned, err := Next(w.policy, o)
	if diff := cmp.Diff([]string{"wait for db-9: StillInUse"}, words(planned)); err != nil || diff != "" {
		t.Errorf("%v, plan (-want +got):\n%s", err, diff)
	}
}

// reissuedClients is reissued for the client domain.
func reissuedClients(w *world) {
	nextGeneration(facts.Client)(w)
	trustedEverywhere(w)
	switched(facts.Client, 2)(w)
	for _, m := range w.members {
		w.publish(m, []facts.Domain{facts.Client})
	}
	trustedEverywhere(w)
}

func session(pod string, generation int) fact {
	return func(w *world) {
		_, c := w.pod(pod)
		c.sessions = append(c.sessions, facts.Session{Generation: generation, User: "ann", Address: "10.0.0.9"})
	}
}

func sessionsUnknown(pod string) fact {
	return func(w *world) {
		_, c := w.pod(pod)
		c.sessionsUnknown = true
	}
}

// A client that is connected with a certificate of the old authority would be refused when it reconnects.
func TestNoClientIsCutOffByDroppingTheOld(t *testing.T) {
	with := func(f ...fact) []fact { return append([]fact{reissuedClients}, f...) }
	turn := []string{"dropold client g1: Unused"}
	run(t, []sentence{
		{"no client is connected", with(), turn, plan.Renewing},
		{"one with a certificate of the old one", with(session("db-0-0", 1)), []string{"wait for db-0-0: StillInUse"}, plan.Waiting},
		{"one with a certificate of the new one", with(session("db-0-0", 2)), turn, plan.Renewing},
		{"the sessions are unknown", with(sessionsUnknown("db-2-0")), []string{"wait for db-2-0: SessionsUnknown"}, plan.Waiting},
		{"one whose certificate must not be trusted", with(session("db-0-0", 1), tainted(facts.Client, 1), trustedEverywhere), turn, plan.Renewing},
		{"the other domain's goes on", []fact{reissued, session("db-0-0", 1), sessionsUnknown("db-2-0")}, []string{"dropold server g1: Unused"}, plan.Renewing},
	})
	w := given(with(session("db-0-0", 1))...)
	planned, err := without(guardSessions).Next(w.policy, w.observe())
	if diff := cmp.Diff(turn, words(planned)[:1]); err != nil || diff != "" {
		t.Errorf("without %q: %v, plan (-want +got):\n%s", guardSessions, err, diff)
	}
}

// lostAndReplaced is a server authority whose key is lost, and its successor, which everybody trusts that the operator knows.
func lostAndReplaced(w *world) {
	nextGeneration(facts.Server)(w)
	withoutBridges(facts.Server)(w)
	w.generation(facts.Server, 2).created = w.now
	authorityProblem(facts.Server, reason.AuthorityLost)(w)
	trustedEverywhere(w)
}

// Nothing leads a client from a lost authority to the next, so he is given the time to follow the ConfigMap.
func TestFollowersAreGivenTimeWhereNothingVouches(t *testing.T) {
	with := func(f ...fact) []fact { return append([]fact{lostAndReplaced, soak(time.Hour)}, f...) }
	lost := "wait for server ca g1: AuthorityLost"
	turn := []string{"switchsigner server g2: Trusted", lost}
	run(t, []sentence{
		{"he has an hour", with(), []string{lost, "wait for server ca g2: AwaitingTrustPropagation"}, plan.Waiting},
		{"which is over", with(later(time.Hour)), turn, plan.Renewing},
		{"or as long as no leaf has to be renewed", []fact{lostAndReplaced, soak(1000 * day), due("db-1", facts.Server)}, turn, plan.Renewing},
		{"or has to be issued, which no other authority could", with(withoutLeaf("db-1", facts.Server)), turn, plan.Renewing},
	})
	w := given(with()...)
	planned, err := without(guardFollowers).Next(w.policy, w.observe())
	if diff := cmp.Diff(turn, words(planned)); err != nil || diff != "" {
		t.Errorf("without %q: %v, plan (-want +got):\n%s", guardFollowers, err, diff)
	}
}

func refusedBy(pod string, generation, count int, served time.Duration) fact {
	return func(w *world) {
		_, c := w.pod(pod)
		c.refused = append(c.refused, facts.Refused{IssuerKeyID: fmt.Sprintf("server-g%d-key", generation), Count: count, Served: served})
	}
}

func autoRollback(count, factor int) fact {
	return func(w *world) { w.policy.AutoRollback = facts.AutoRollback{Refusals: count, Factor: factor} }
}

// knowsBefore: every agent served leaves of the old authority for a minute, and no client refused them.
func knowsBefore(w *world) {
	for _, m := range w.members {
		for _, c := range m.pods {
			c.refused = append(c.refused, facts.Refused{IssuerKeyID: "server-g1-key", Served: time.Minute})
		}
	}
}

func startedSince(pod string) fact {
	return func(w *world) {
		_, c := w.pod(pod)
		c.refused = nil
	}
}

// A burst of refusals after the switch undoes it; what always refused does not.
func TestClientsThatRefuseUndoARekey(t *testing.T) {
	with := func(f ...fact) []fact {
		return append([]fact{reissued, soak(time.Hour), autoRollback(10, 3), knowsBefore}, f...)
	}
	undo, stay := []string{"rollback server g2: ClientsRefuse"}, []string{"wait for server ca g1: AwaitingSoak"}
	run(t, []sentence{
		{"no client refuses", with(), stay, plan.Steady},
		{"ten refuse", with(refusedBy("db-0-0", 2, 10, time.Minute)), undo, plan.Renewing},
		{"ten in all refuse", with(refusedBy("db-0-0", 2, 4, time.Minute), refusedBy("pgbouncer-x", 2, 6, time.Minute)), undo, plan.Renewing},
		{"nine refuse", with(refusedBy("db-0-0", 2, 9, time.Minute)), stay, plan.Steady},
		{"the old one was refused", with(refusedBy("db-0-0", 1, 100, time.Minute)), stay, plan.Steady},
		{"as many as before", with(refusedBy("db-0-0", 1, 100, 5*time.Minute), refusedBy("db-0-0", 2, 30, time.Minute)), stay, plan.Steady},
		{"more than thrice as many as before", with(refusedBy("db-0-0", 1, 100, 5*time.Minute), refusedBy("db-0-0", 2, 31, time.Minute)), undo, plan.Renewing},
		{"an agent that started since does not know how it was before", with(startedSince("db-0-0"), refusedBy("db-0-0", 2, 1000, time.Minute)), stay, plan.Steady},
		{"it is turned off", with(refusedBy("db-0-0", 2, 1000, time.Minute), autoRollback(0, 3)), stay, plan.Steady},
		{"never back to a tainted one", with(refusedBy("db-0-0", 2, 1000, time.Minute), tainted(facts.Server, 1), trustedEverywhere), []string{"dropold server g1: Unused"}, plan.Renewing},
	})
}

func TestARequestThatCannotBeDoneIsAnswered(t *testing.T) {
	run(t, []sentence{
		{"nothing is being re-keyed", []fact{rollbackRequested(facts.Server, "1")}, []string{"wait for server ca g1: NothingToRollBack"}, plan.Steady},
		{"back to a tainted one", []fact{reissued, soak(time.Hour), tainted(facts.Server, 1), trustedEverywhere, rollbackRequested(facts.Server, "1")},
			[]string{"dropold server g1: Unused", "wait for server ca g2: NothingToRollBack"}, plan.Renewing},
	})
}

// rekeyed tells the whole of it, round by round, by what was done about authorities.
func turnsOf(t *testing.T, w *world) []string {
	t.Helper()
	w.log = nil
	if _, _, err := w.rest(400); err != nil {
		t.Fatal(err)
	}
	var turns []string
	for _, line := range w.log {
		if op, _, _ := strings.Cut(line, " "); slices.Contains(rekeying, op) && op != "RestoreAuthority" {
			turns = append(turns, line)
		}
	}
	return turns
}

func TestARekeyFromEndToEnd(t *testing.T) {
	for _, domain := range facts.Domains() {
		w := given(rekeyRequested(domain, "1"))
		name := string(domain)
		want := []string{"TrustNew " + name + " g2 (Requested)", "SwitchSigner " + name + " g2 (Trusted)", "DropOld " + name + " g1 (Unused)", "DiscardAuthority " + name + " g1 (UntrustedNow)"}
		if diff := cmp.Diff(want, turnsOf(t, w)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", domain, diff)
		}
		if again := turnsOf(t, w); len(again) > 0 {
			t.Errorf("the same request once more: %q", again)
		}
		for _, m := range w.members {
			if l := m.leaf(domain); l != nil && l.IssuerKeyID != name+"-g2-key" {
				t.Errorf("%s has a leaf of %s", m.name, l.IssuerKeyID)
			}
			if diff := cmp.Diff([]string{name + "-g2"}, m.secret.Anchors.Of(domain)); diff != "" {
				t.Errorf("%s trusts (-want +got):\n%s", m.name, diff)
			}
		}
	}
}

// A roll-back at any moment ends where it began, is not tried again, and the next one has a new number.
func TestRollBackAtEveryMoment(t *testing.T) {
	phases := map[plan.Phase]bool{}
	for rounds := 1; ; rounds++ {
		w := given(soak(time.Hour), rekeyRequested(facts.Server, "1"))
		var planned plan.Plan
		for range rounds {
			var err error
			if planned, err = w.round(1); err != nil {
				t.Fatal(err)
			}
		}
		before := decide(t, w)
		for _, rekey := range before.Rekeys {
			phases[rekey.Phase] = true
		}
		rollbackRequested(facts.Server, "undo")(w)
		turns := turnsOf(t, w)
		if len(turns) == 0 || !strings.HasPrefix(turns[0], "RollBack server g2") || turns[len(turns)-1] != "DiscardAuthority server g2 (UntrustedNow)" {
			t.Fatalf("after %d rounds: %q", rounds, turns)
		}
		for _, m := range w.members {
			if l := m.leaf(facts.Server); l != nil && l.IssuerKeyID != "server-g1-key" {
				t.Fatalf("after %d rounds: %s has a leaf of %s", rounds, m.name, l.IssuerKeyID)
			}
		}
		rekeyRequested(facts.Server, "2")(w)
		if planned := decide(t, w); planned.Transition == nil || planned.Transition.String() != "TrustNew server g3 (Requested)" {
			t.Fatalf("after %d rounds, asked again: %q", rounds, words(planned))
		}
		if planned.Empty() {
			break
		}
	}
	for _, phase := range []plan.Phase{plan.Preparing, plan.Reissuing, plan.Soaking} {
		if !phases[phase] {
			t.Errorf("no roll-back was asked for while %s", phase)
		}
	}
}

func TestTaintMakesNoBridge(t *testing.T) {
	w := given(soak(1000*day), tainted(facts.Server, 1))
	turns := turnsOf(t, w)
	if len(turns) != 4 || turns[3] != "DiscardAuthority server g1 (UntrustedNow)" {
		t.Errorf("turns %q: the soak is not waited for", turns)
	}
	for _, m := range w.members {
		if l := m.leaf(facts.Server); l != nil && len(l.Chain) > 0 {
			t.Errorf("%s shows bridges %q", m.name, l.Chain)
		}
	}
	if w.authorities[facts.Server].forward.Fingerprint != "" {
		t.Error("a tainted authority vouches for its successor")
	}
}

func TestAnAuthorityThatCannotSignIsReplaced(t *testing.T) {
	for name, f := range map[string]fact{
		"unreadable": authorityProblem(facts.Server, reason.AuthorityUnreadable),
		"lost":       authorityProblem(facts.Server, reason.AuthorityLost),
	} {
		w := given(f)
		turns := turnsOf(t, w)
		if len(turns) != 4 || w.authorities[facts.Server].generation != 2 {
			t.Errorf("%s: %q", name, turns)
		}
	}
}
