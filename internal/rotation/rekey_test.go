package rotation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/pki"
)

// beginsAt makes an authority due for a re-key this second.
func beginsAt(domain Domain, shift time.Duration) fact {
	return func(w *world) {
		policy := w.policy.Authorities[domain]
		policy.RenewBefore = policy.Life / 2
		w.policy.Authorities[domain] = policy
		a := w.authorities[domain]
		due := pki.RenewalTime(a.facts.NotBefore, a.facts.NotAfter, policy.RenewBefore, authorityName(domain, 1))
		a.facts.NotBefore, a.facts.NotAfter = a.facts.NotBefore.Add(w.now.Sub(due)+shift), a.facts.NotAfter.Add(w.now.Sub(due)+shift)
	}
}

func rolledBack(domain Domain, generation int) fact {
	return func(w *world) { w.authorities[domain].marks.RolledBack = generation }
}

func paused(w *world) { w.policy.Paused = true }

func wantsAuthority(domain Domain, algorithm pki.Algorithm) fact {
	return func(w *world) {
		w.authorities[domain].facts.Algorithm = pki.ECDSAP256
		policy := w.policy.Authorities[domain]
		policy.Algorithm = algorithm
		w.policy.Authorities[domain] = policy
	}
}

func TestWhatBeginsARekey(t *testing.T) {
	run(t, []sentence{
		{"half of its life", []fact{beginsAt(Server, 0)}, []string{"trustnew server g2: Due"}, Renewing},
		{"a second before", []fact{beginsAt(Server, time.Second)}, nil, Steady},
		{"a request", []fact{rekeyRequested(Client, "1")}, []string{"trustnew client g2: Requested"}, Renewing},
		{"another key", []fact{wantsAuthority(Server, pki.RSA2048)}, []string{"trustnew server g2: KeyAlgorithmChanged"}, Renewing},
		{"a taint", []fact{tainted(Server, 1)}, []string{"trustnew server g2: Tainted"}, Renewing},
		{"a taint of another generation", []fact{tainted(Server, 2)}, nil, Steady},
		{"both domains at once: one after the other", []fact{rekeyRequested(Client, "1"), rekeyRequested(Server, "1")},
			[]string{"trustnew server g2: Requested", "wait for client ca g1: AwaitingOtherDomain"}, Renewing},
		{"while the other domain's is under way", []fact{nextGeneration(Client), trustedEverywhere, unreachable("db-1-0"), rekeyRequested(Server, "1")},
			[]string{"wait for server ca g1: AwaitingOtherDomain", "wait for db-1-0: AgentUnreachable"}, Waiting},
		{"paused", []fact{paused, beginsAt(Server, 0)}, []string{"wait for server ca g1: RotationPaused"}, Steady},
		{"paused, and asked for", []fact{paused, rekeyRequested(Server, "1")}, []string{"trustnew server g2: Requested"}, Renewing},
		{"paused, in an emergency", []fact{paused, tainted(Server, 1)}, []string{"trustnew server g2: Tainted"}, Renewing},
		{"due again after a roll-back", []fact{rolledBack(Server, 2), beginsAt(Server, 0)}, []string{"wait for server ca g1: RekeyWithdrawn"}, Steady},
		{"asked for after a roll-back: the number is not used again", []fact{rolledBack(Server, 2), rekeyRequested(Server, "2")},
			[]string{"trustnew server g3: Requested"}, Renewing},
	})
}

func TestWhatASwitchWaitsFor(t *testing.T) {
	ready := []fact{nextGeneration(Server), trustedEverywhere}
	with := func(f ...fact) []fact { return append(slices.Clone(ready), f...) }
	turn := []string{"switchsigner server g2: Trusted"}
	run(t, []sentence{
		{"nobody", ready, turn, Renewing},
		{"a pod that says nothing", with(unreachable("db-1-0")), []string{"wait for db-1-0: AgentUnreachable"}, Waiting},
		{"a pod that was not seen", with(unproven("db-1-0")), []string{"prove db-1-0"}, Renewing},
		{"a pod that serves something else", with(servesOld("db-1-0")), slices.Repeat([]string{"wait for db-1-0: StillServingOld"}, 3), Waiting},
		{"a pod whose process has not loaded it", with(bundleLoaded("db-1-0", Server, "server-g1")), []string{"wait for db-1-0: TrustNotLoaded"}, Waiting},
		{"a pod of which that is unknown", with(bundleLoaded("db-1-0", Server)), []string{"wait for db-1-0: TrustNotLoaded"}, Waiting},
		{"the ConfigMap", with(publicTrust(Present, "server-g1")), []string{"publish ca: TrustChanged"}, Renewing},
		{"a bundle", with(bundleReplaced("operator", Server, "server-g1")), []string{"publish operator []: TrustChanged"}, Renewing},
		{"not for a pod that has not started", with(notStarted("db-1-0")), turn, Renewing},
		{"not for what is somebody else's", with(foreignSecret("db-1")), append(slices.Clone(turn), "wait for db-1: ForeignSecret"), Renewing},
	})
}

// reissued goes on until nothing is the old authority's any more.
func reissued(w *world) {
	nextGeneration(Server)(w)
	trustedEverywhere(w)
	switched(Server, 2)(w)
	for _, m := range w.members {
		if m.leaf(Server) != nil {
			w.publish(m, []Domain{Server})
		}
	}
	trustedEverywhere(w)
}

func TestWhatDroppingTheOldWaitsFor(t *testing.T) {
	with := func(f ...fact) []fact { return append([]fact{reissued}, f...) }
	turn := []string{"dropold server g1: Unused"}
	run(t, []sentence{
		{"nobody", with(), turn, Renewing},
		{"the soak", with(soak(time.Hour)), []string{"wait for server ca g1: AwaitingSoak"}, Steady},
		{"not for the rest of a soak that is over", with(soak(time.Hour), later(time.Hour)), turn, Renewing},
		{"a person", with(func(w *world) { w.policy.RetireManual = true }), []string{"wait for server ca g1: AwaitingApproval"}, Steady},
		{"not for a person who approved", with(func(w *world) { w.policy.RetireManual = true }, approved(Server, 1)), turn, Renewing},
		{"a person who approved another one", with(func(w *world) { w.policy.RetireManual = true }, approved(Server, 2)), []string{"wait for server ca g1: AwaitingApproval"}, Steady},
		{"not for the soak of a tainted one", with(soak(time.Hour), tainted(Server, 1), trustedEverywhere), turn, Renewing},
		{"a pod that says nothing", with(unreachable("db-1-0")), []string{"wait for db-1-0: AgentUnreachable"}, Waiting},
		{"a leaf that it issued", with(func(w *world) { w.member("db-1").leaf(Server).IssuerKeyID = "server-g1-key" }, trustedEverywhere),
			[]string{"publish db-1 [server]: IssuerNotActive", "activate db-1-0"}, Renewing},
	})
}

func TestALeftoverHoldsUpTheDrop(t *testing.T) {
	w := given(reissued)
	o := w.observe()
	o.Leftovers = []Leftover{{Party: "db-9", Domain: Server, IssuerKeyID: "server-g1-key"}}
	plan, err := Next(w.policy, o)
	if diff := cmp.Diff([]string{"wait for db-9: StillInUse"}, words(plan)); err != nil || diff != "" {
		t.Errorf("%v, plan (-want +got):\n%s", err, diff)
	}
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
		switch op, _, _ := strings.Cut(line, " "); Op(op) {
		case TrustNew, SwitchSigner, RollBack, DropOld, DiscardAuthority:
			turns = append(turns, line)
		default:
		}
	}
	return turns
}

func TestARekeyFromEndToEnd(t *testing.T) {
	for _, domain := range Domains() {
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
			if diff := cmp.Diff([]string{name + "-g2"}, m.secret.Anchors[domain]); diff != "" {
				t.Errorf("%s trusts (-want +got):\n%s", m.name, diff)
			}
		}
	}
}

// A roll-back at any moment ends where it began, is not tried again, and the next one has a new number.
func TestRollBackAtEveryMoment(t *testing.T) {
	phases := map[Phase]bool{}
	for rounds := 1; ; rounds++ {
		w := given(soak(time.Hour), rekeyRequested(Server, "1"))
		var plan Plan
		for range rounds {
			var err error
			if plan, err = w.round(1); err != nil {
				t.Fatal(err)
			}
		}
		before := decide(t, w)
		for _, rekey := range before.Rekeys {
			phases[rekey.Phase] = true
		}
		rollbackRequested(Server, "undo")(w)
		turns := turnsOf(t, w)
		if len(turns) == 0 || !strings.HasPrefix(turns[0], "RollBack server g2") || turns[len(turns)-1] != "DiscardAuthority server g2 (UntrustedNow)" {
			t.Fatalf("after %d rounds: %q", rounds, turns)
		}
		for _, m := range w.members {
			if l := m.leaf(Server); l != nil && l.IssuerKeyID != "server-g1-key" {
				t.Fatalf("after %d rounds: %s has a leaf of %s", rounds, m.name, l.IssuerKeyID)
			}
		}
		rekeyRequested(Server, "2")(w)
		if plan := decide(t, w); len(plan.Steps) == 0 || plan.Steps[0].String() != "TrustNew server g3 (Requested)" {
			t.Fatalf("after %d rounds, asked again: %q", rounds, words(plan))
		}
		if len(plan.Steps) == 0 {
			break
		}
	}
	for _, phase := range []Phase{Preparing, Reissuing, Soaking} {
		if !phases[phase] {
			t.Errorf("no roll-back was asked for while %s", phase)
		}
	}
}

func TestTaintMakesNoBridge(t *testing.T) {
	w := given(soak(1000*day), tainted(Server, 1))
	turns := turnsOf(t, w)
	if len(turns) != 4 || turns[3] != "DiscardAuthority server g1 (UntrustedNow)" {
		t.Errorf("turns %q: the soak is not waited for", turns)
	}
	for _, m := range w.members {
		if l := m.leaf(Server); l != nil && len(l.Chain) > 0 {
			t.Errorf("%s shows bridges %q", m.name, l.Chain)
		}
	}
	if w.authorities[Server].forward.Fingerprint != "" {
		t.Error("a tainted authority vouches for its successor")
	}
}

func TestAnAuthorityThatCannotSignIsReplaced(t *testing.T) {
	for name, f := range map[string]fact{
		"unreadable": authorityProblem(Server, AuthorityUnreadable),
		"lost":       authorityProblem(Server, AuthorityLost),
	} {
		w := given(f)
		turns := turnsOf(t, w)
		if len(turns) != 4 || w.authorities[Server].generation != 2 {
			t.Errorf("%s: %q", name, turns)
		}
	}
}
