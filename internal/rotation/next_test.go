package rotation

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// A sentence: given these facts, this is the plan.
type sentence struct {
	name  string
	given []fact
	want  []string
	state plan.State // "" means: Renewing with a step, else Waiting with a blocker, else Steady
}

func (s sentence) check(t *testing.T) {
	t.Helper()
	w := given(s.given...)
	planned := decide(t, w)
	if diff := cmp.Diff(s.want, words(planned)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	state := s.state
	switch {
	case state != "":
	case len(planned.Steps()) > 0:
		state = plan.Renewing
	case len(planned.Blockers) > 0:
		state = plan.Waiting
	default:
		state = plan.Steady
	}
	if planned.State != state {
		t.Errorf("state %s, want %s", planned.State, state)
	}
	// Each sentence also says that the steps would be let through.
	if err := w.run(planned, all); err != nil {
		t.Errorf("the plan's own step is refused: %v", err)
	}
}

func run(t *testing.T, sentences []sentence) {
	t.Helper()
	for _, s := range sentences {
		t.Run(s.name, s.check)
	}
}

func TestWhyALeafIsIssued(t *testing.T) {
	run(t, []sentence{
		{"nothing, when everything is as wanted", nil, nil, plan.Steady},
		{"missing", []fact{secretGone("db-1")},
			[]string{"publish db-1 [server client]: Missing", "activate db-1-0"}, plan.Renewing},
		{"missing material of the operator has no pod to activate", []fact{secretGone("operator")},
			[]string{"publish operator [client]: Missing"}, ""},
		{"blanked", []fact{blanked("db-1")},
			[]string{"publish db-1 [server client]: Damaged", "activate db-1-0"}, ""},
		{"garbled, and the other leaf is kept", []fact{garbled("db-1", facts.Server)},
			[]string{"publish db-1 [server]: Damaged", "activate db-1-0"}, ""},
		{"key swapped", []fact{keySwapped("db-1", facts.Client)},
			[]string{"publish db-1 [client]: Damaged", "activate db-1-0"}, ""},
		{"a leaf cut out", []fact{withoutLeaf("db-1", facts.Client)},
			[]string{"publish db-1 [client]: Damaged", "activate db-1-0"}, ""},
		{"altered: both leaves are kept", []fact{altered("db-1")},
			[]string{"publish db-1 []: Damaged"}, ""},
		{"a name more", []fact{wantsName("db-1", "db-1.example.com")},
			[]string{"publish db-1 [server]: NamesChanged", "activate db-1-0"}, ""},
		{"a name that sorts first", []fact{wantsName("db-1", "a.example.com")},
			[]string{"publish db-1 [server]: NamesChanged", "activate db-1-0"}, ""},
		{"an address more", []fact{wantsAddress("db-1", "192.0.2.7")},
			[]string{"publish db-1 [server]: NamesChanged", "activate db-1-0"}, ""},
		{"a name less is no reason", []fact{wantsFewerNames("db-1")}, nil, plan.Steady},
		{"another subject", []fact{func(w *world) { w.member("db-1").wants[1].CommonName = "other" }},
			[]string{"publish db-1 [client]: NamesChanged", "activate db-1-0"}, ""},
		{"another algorithm", []fact{wantsAlgorithm("db-1", facts.Server, pki.RSA2048)},
			[]string{"publish db-1 [server]: KeyAlgorithmChanged", "activate db-1-0"}, ""},
		{"a stranger's leaf", []fact{leafOfStranger("db-1", facts.Server)},
			[]string{"publish db-1 [server]: IssuerNotActive", "activate db-1-0"}, ""},
		{"a leaf that outlives its authority is not ours", []fact{damaged("db-1", func(m *facts.Material) { leafOf(m, facts.Client).NotAfter = dawn.Add(731 * day) })},
			[]string{"publish db-1 [client]: Damaged", "activate db-1-0"}, ""},
		{"a leaf of a clock that was ahead", []fact{endsIn("db-1", facts.Client, clientLife+day)},
			[]string{"publish db-1 [client]: NotYetValid", "activate db-1-0"}, ""},
		{"a leaf of a clock that was a little ahead", []fact{endsIn("db-1", facts.Client, clientLife+backdate)}, nil, plan.Steady},
		{"expired is due and cannot wait", []fact{endsIn("db-0", facts.Client, 0), published("db-1"), asked("db-1-0")},
			[]string{"publish db-0 [client]: Due", "activate db-0-0", "wait for db-1-0: AwaitingActivation"}, ""},
		{"due", []fact{due("db-1", facts.Client)},
			[]string{"publish db-1 [client]: Due", "activate db-1-0"}, ""},
		{"due in a second", []fact{almostDue("db-1", facts.Client)}, nil, plan.Steady},
		{"both due", []fact{due("db-1", facts.Client), due("db-1", facts.Server)},
			[]string{"publish db-1 [server client]: Due", "activate db-1-0"}, ""},
		{"a bundle gone", []fact{bundleGone("db-1", facts.Client)},
			[]string{"publish db-1 []: TrustChanged"}, ""},
		{"a bundle replaced", []fact{bundleReplaced("db-1", facts.Server, "stranger")},
			[]string{"publish db-1 []: TrustChanged"}, ""},
		{"a bundle with an anchor too many", []fact{bundleReplaced("db-1", facts.Server, "server-g1", "stranger")},
			[]string{"publish db-1 []: TrustChanged"}, ""},
		{"clients' bundle missing", []fact{publicTrust(facts.Missing)}, []string{"publish ca: Missing"}, ""},
		{"clients' bundle changed", []fact{publicTrust(facts.Present, "stranger")}, []string{"publish ca: TrustChanged"}, ""},
	})
}

func TestAReasonThatSaysMoreComesFirst(t *testing.T) {
	run(t, []sentence{
		{"damaged rather than due", []fact{due("db-1", facts.Client), garbled("db-1", facts.Client)},
			[]string{"publish db-1 [client]: Damaged", "activate db-1-0"}, ""},
		{"names rather than algorithm", []fact{wantsAlgorithm("db-1", facts.Server, pki.RSA2048), wantsName("db-1", "x")},
			[]string{"publish db-1 [server]: NamesChanged", "activate db-1-0"}, ""},
		{"a leaf's reason rather than the bundle's", []fact{due("db-1", facts.Client), bundleGone("db-1", facts.Client)},
			[]string{"publish db-1 [client]: Due", "activate db-1-0"}, ""},
		{"altered rather than due, and due all the same", []fact{due("db-1", facts.Client), altered("db-1")},
			[]string{"publish db-1 [client]: Damaged", "activate db-1-0"}, ""},
	})
}

func TestRequestIsAnsweredOnce(t *testing.T) {
	w := given(renewRequested("today"))
	want := []string{"publish operator [client]: Requested", "publish db-1 [server client]: Requested", "activate db-1-0"}
	if diff := cmp.Diff(want, words(decide(t, w))); diff != "" {
		t.Fatalf("the operator goes first and the canary with it (-want +got):\n%s", diff)
	}
	if _, _, err := w.rest(w.roundsToRest()); err != nil {
		t.Fatal(err)
	}
	issued := w.serial
	if got, want := issued, 2*9; got != want {
		t.Errorf("%d leaves were issued in this world, want each of the 9 twice", got)
	}
	for _, value := range []string{"today", ""} {
		w.policy.RenewRequest = value
		if lines := words(decide(t, w)); lines != nil {
			t.Errorf("request %q is answered again: %v", value, lines)
		}
	}
	w.policy.RenewRequest = "tomorrow"
	if _, _, err := w.rest(w.roundsToRest()); err != nil || w.serial != issued+9 {
		t.Errorf("a new value renews each leaf once: %d leaves, %v", w.serial-issued, err)
	}
}

func TestWhomTheRotationWaitsFor(t *testing.T) {
	run(t, []sentence{
		{"an agent that gives no report", []fact{published("db-1"), unreachable("db-1-0")},
			[]string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"an agent that was asked and gives no report any more", []fact{published("db-1"), asked("db-1-0"), unreachable("db-1-0")},
			[]string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"an agent that was settled and gives no report any more", []fact{unreachable("db-1-0")},
			[]string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"an agent that refuses", []fact{published("db-1"), asked("db-1-0"), refusing("db-1-0")},
			[]string{"wait for db-1-0: AgentRefused"}, plan.Waiting},
		{"an agent that has not come to it yet", []fact{published("db-1"), asked("db-1-0")},
			[]string{"wait for db-1-0: AwaitingActivation"}, plan.Waiting},
		{"a port that is silent", []fact{portSilent("db-1-0", "patroni")},
			[]string{"wait for db-1-0: NotProven"}, plan.Waiting},
		{"a process that serves the old leaf", []fact{servesOld("db-1-0")},
			[]string{"wait for db-1-0: StillServingOld", "wait for db-1-0: StillServingOld", "wait for db-1-0: StillServingOld"}, plan.Waiting},
		{"a Secret owned by another controller", []fact{foreignSecret("db-1")},
			[]string{"wait for db-1: ForeignSecret"}, plan.Waiting},
		{"a Secret that could not be read", []fact{unreadableSecret("db-1")},
			[]string{"wait for db-1: MaterialUnknown"}, plan.Waiting},
		{"a ConfigMap owned by another controller", []fact{publicTrust(facts.Foreign)},
			[]string{"wait for ca: ForeignConfigMap"}, plan.Waiting},
		{"a ConfigMap that could not be read", []fact{publicTrust(facts.Unknown)},
			[]string{"wait for ca: MaterialUnknown"}, plan.Waiting},
		{"every pod that stands in the way is named", []fact{refusing("db-1-0"), published("db-1"), asked("db-1-0"), unreachable("pgbouncer-x"), asked("pgbouncer-x")},
			[]string{"wait for db-1-0: AgentRefused", "wait for pgbouncer-x: AgentUnreachable"}, plan.Waiting},
	})
}

func TestBlockersTellFactAndRemedy(t *testing.T) {
	for party, c := range map[string]struct {
		given []fact
		want  []string
	}{
		"db-1-0":       {[]fact{published("db-1"), asked("db-1-0"), refusing("db-1-0")}, []string{"ReloadFailed", "the process does not answer"}},
		"db-2-0":       {[]fact{portSilent("db-2-0", "patroni")}, []string{"port patroni", "connection refused"}},
		"db-1":         {[]fact{foreignSecret("db-1")}, []string{"Secret db-1", "rename it"}},
		"server ca g1": {[]fact{noAuthority(facts.Server)}, []string{"generation 1 of the server authority", "restore the Secret from a backup"}},
		"client ca g1": {[]fact{authorityProblem(facts.Client, reason.AuthorityUnreadable)}, []string{"as AuthorityUnreadable"}},
	} {
		text := message(decide(t, given(c.given...)), party)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("blocker for %s: %q does not say %q", party, text, want)
			}
		}
	}
}

func TestPublishGate(t *testing.T) {
	broken := []fact{published("db-1"), asked("db-1-0"), slow("db-1-0")}
	waits := "wait for db-1-0: AwaitingActivation"
	with := func(premises ...fact) []fact { return append(append([]fact{}, broken...), premises...) }
	run(t, []sentence{
		{"a due leaf of a later party waits", with(due("db-2", facts.Client)), []string{waits}, plan.Waiting},
		{"a requested one too", with(renewRequested("now"), func(w *world) {
			w.member("operator").secret.Answered, w.member("db-1").secret.Answered = "now", "now"
		}), []string{waits}, ""},
		{"and another algorithm", with(wantsAlgorithm("db-0", facts.Server, pki.RSA2048)), []string{waits}, ""},
		{"the operator comes before everybody", with(due("operator", facts.Client)),
			[]string{"publish operator [client]: Due", waits}, ""},
		{"the unsettled party itself may be written again", with(due("db-1", facts.Client)),
			[]string{"publish db-1 [client]: Due"}, ""},
		{"missing does not wait", with(secretGone("db-2")), []string{"publish db-2 [server client]: Missing", waits}, ""},
		{"damaged does not wait", with(garbled("pgbouncer", facts.Server)), []string{"publish pgbouncer [server]: Damaged", waits}, ""},
		{"a missing name does not wait", with(wantsName("db-0", "x")), []string{"publish db-0 [server]: NamesChanged", waits}, ""},
		{"a stranger's leaf does not wait", with(leafOfStranger("db-0", facts.Client)), []string{"publish db-0 [client]: IssuerNotActive", waits}, ""},
		{"a bundle does not wait", with(bundleGone("db-0", facts.Server)), []string{"publish db-0 []: TrustChanged", waits}, ""},
		{"nor does one whose leaf is due besides", with(due("db-0", facts.Client), bundleGone("db-0", facts.Server)),
			[]string{"publish db-0 [client]: Due", waits}, ""},
		{"a party that could not be read closes the gate", []fact{unreadableSecret("operator"), due("db-2", facts.Client)},
			[]string{"wait for operator: MaterialUnknown"}, plan.Waiting},
		{"a party owned by another controller does not", []fact{foreignSecret("db-1"), due("db-2", facts.Client)},
			[]string{"publish db-2 [client]: Due", "activate db-2-0", "wait for db-1: ForeignSecret"}, ""},
	})
}

func TestActivateGate(t *testing.T) {
	run(t, []sentence{
		{"one replica after the other", []fact{published("db-1"), published("db-2"), published("db-0")},
			[]string{"activate db-1-0"}, ""},
		{"the next when the canary is proven", []fact{published("db-1"), published("db-2"), activated("db-1-0"), proven("db-1-0")},
			[]string{"activate db-2-0"}, ""},
		{"not when it is only active", []fact{published("db-1"), published("db-2"), activated("db-1-0")},
			[]string{"prove db-1-0"}, ""},
		{"the poolers before the primary", []fact{published("db-0"), published("pgbouncer")},
			[]string{"activate pgbouncer-x"}, ""},
		{"one pooler after the other", []fact{published("pgbouncer"), activated("pgbouncer-x"), proven("pgbouncer-x")},
			[]string{"activate pgbouncer-y"}, ""},
		{"the primary last", []fact{published("db-0")}, []string{"activate db-0-0"}, ""},
		{"a repair is published at once and activated in its turn", []fact{secretGone("db-0"), secretGone("db-2"), secretGone("pgbouncer")},
			[]string{"publish db-2 [server client]: Missing", "publish pgbouncer [server client]: Missing",
				"publish db-0 [server client]: Missing", "activate db-2-0"}, ""},
		{"a pod that has not started is no blocker", []fact{notStarted("db-1-0"), published("db-2")},
			[]string{"activate db-2-0"}, ""},
		{"an unknown report closes the gate", []fact{unreachable("db-1-0"), published("db-2")},
			[]string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"an unknown report activates nothing", []fact{secretGone("db-1"), unreachable("db-1-0")},
			[]string{"publish db-1 [server client]: Missing", "wait for db-1-0: AgentUnreachable"}, ""},
		{"one that was asked keeps the gate closed when a failover puts it last",
			[]fact{published("db-1"), asked("db-1-0"), published("db-2"), func(w *world) { w.failover("db-1") }},
			[]string{"wait for db-1-0: AwaitingActivation"}, plan.Waiting},
		{"one that was seen and then became unreachable holds up only those behind it", []fact{unreachable("db-0-0"), published("db-1")},
			[]string{"activate db-1-0", "wait for db-0-0: AgentUnreachable"}, ""},
		{"a self-activated pod is proven and not asked", []fact{published("db-1"), selfActivated("db-1-0")},
			[]string{"prove db-1-0"}, ""},
		{"a stale proof proves nothing", []fact{published("db-1"), activated("db-1-0")}, []string{"prove db-1-0"}, ""},
		{"no proof proves nothing", []fact{unproven("db-1-0")}, []string{"prove db-1-0"}, ""},
		{"a look needs no gate", []fact{published("db-1"), asked("db-1-0"), unproven("db-0-0"), unproven("pgbouncer-y")},
			[]string{"prove pgbouncer-y", "prove db-0-0", "wait for db-1-0: AwaitingActivation"}, ""},
	})
}

func TestUrgencyPassesBothGates(t *testing.T) {
	stuck := []fact{published("db-1"), asked("db-1-0"), slow("db-1-0")}
	waits := "wait for db-1-0: AwaitingActivation"
	with := func(premises ...fact) []fact { return append(append([]fact{}, stuck...), premises...) }
	run(t, []sentence{
		{"half of the window left", with(urgent("db-0")),
			[]string{"publish db-0 [client]: Due", "activate db-0-0", waits}, ""},
		{"a second more left", with(endsIn("db-0", facts.Client, clientWindow/2+time.Second)), []string{waits}, plan.Waiting},
		{"published before, and urgent to be activated", with(urgent("db-0"), func(w *world) { published("db-0")(w) }),
			[]string{"activate db-0-0", waits}, ""},
		{"an unknown report is not urgent", with(urgent("db-0"), unreachable("db-0-0")),
			[]string{"publish db-0 [client]: Due", waits}, ""},
		{"an unknown end is not urgent", with(func(w *world) { published("db-0")(w) }, of("db-0-0", func(c *container) { c.active.Leaves = nil })),
			[]string{waits}, plan.Waiting},
		{"both poolers at once", with(urgent("pgbouncer"), func(w *world) { published("pgbouncer")(w) }),
			[]string{"activate pgbouncer-x", "activate pgbouncer-y", waits}, ""},
		{"the broken pod stays named", with(urgent("db-0"), urgent("pgbouncer")),
			[]string{"publish pgbouncer [client]: Due", "publish db-0 [client]: Due", "activate pgbouncer-x", "activate db-0-0", waits}, ""},
	})
}

func TestFirstGeneration(t *testing.T) {
	w := birth(2, 1)
	if diff := cmp.Diff([]string{"create server g1: FirstGeneration", "create client g1: FirstGeneration"}, words(decide(t, w))); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	if err := w.run(decide(t, w), 1); err != nil {
		t.Fatal(err)
	}
	want := []string{"restore copy of server g1: SecretMissing", "create client g1: FirstGeneration", "publish ca: Missing"}
	if diff := cmp.Diff(want, words(decide(t, w))); diff != "" {
		t.Errorf("half a plan later (-want +got):\n%s", diff)
	}
	delete(w.policy.Authorities, facts.Client)
	if diff := cmp.Diff([]string{want[0], want[2]}, words(decide(t, w))); diff != "" {
		t.Errorf("an authority that is not managed is not made (-want +got):\n%s", diff)
	}
}

func TestAuthorityThatCannotSign(t *testing.T) {
	trouble := []fact{secretGone("db-2"), due("operator", facts.Client), unproven("db-0-0")}
	with := func(f ...fact) []fact { return append(append([]fact{}, trouble...), f...) }
	// The operator has no server leaf, and its bundle of that domain is kept.
	blocked := func(why reason.Code) []string {
		return []string{"publish operator [client]: Due", "prove db-0-0", "wait for server ca g1: " + string(why)}
	}
	// What waits for no authority of the other domain is done beside the transition.
	replaced := func(why reason.Code) []string {
		return append([]string{"trustnew server g2: " + string(why)}, blocked(why)...)
	}
	run(t, []sentence{
		{"and no bundle to keep: nothing can be written", with(noAuthority(facts.Server), bundleGone("operator", facts.Server)),
			[]string{"prove db-0-0", "wait for server ca g1: AuthorityLost"}, ""},
		{"lost: nothing is signed of it, and looks go on", with(noAuthority(facts.Server)), blocked(reason.AuthorityLost), ""},
		{"lost with both Secrets, and its certificate is in use: another takes its place", with(secretLost(facts.Server)), replaced(reason.AuthorityLost), ""},
		{"unreadable: another takes its place", with(authorityProblem(facts.Server, reason.AuthorityUnreadable)), replaced(reason.AuthorityUnreadable), ""},
		{"foreign", with(authorityProblem(facts.Server, reason.AuthorityForeign)), blocked(reason.AuthorityForeign), ""},
		{"expired this second: another takes its place", with(authorityEndsIn(facts.Server, 0)), replaced(reason.AuthorityExpired), ""},
		{"not yet valid: a new leaf would not be either", []fact{later(-2 * time.Hour)},
			[]string{"wait for server ca g1: AuthorityNotYetValid", "wait for client ca g1: AuthorityNotYetValid"}, plan.Waiting},
		{"published material of a lost authority is not activated", []fact{published("db-1"), noAuthority(facts.Server)},
			[]string{"wait for server ca g1: AuthorityLost"}, plan.Waiting},
		{"unreadable and being deleted: it is not copied", []fact{authorityProblem(facts.Server, reason.AuthorityUnreadable), authorityStored(facts.Server, facts.Store{Present: true, Deleting: true}, facts.Store{})},
			[]string{"trustnew server g2: AuthorityUnreadable", "wait for server ca g1: AuthorityUnreadable"}, ""},
	})
}

func TestStrangeGenerations(t *testing.T) {
	observe := func(seen int, generations ...int) plan.Plan {
		w := given()
		o := w.observe()
		o.Authorities = o.Authorities[1:] // the client's stays
		for _, g := range generations {
			premises := w.authorities[facts.Server].certificate
			if g != 1 {
				premises.KeyID, premises.Fingerprint = "other-key", "other"
			}
			o.Authorities = append(o.Authorities, facts.Authority{Domain: facts.Server, Generation: g, Certificate: premises, Original: facts.Store{Present: true}, Copy: facts.Store{Present: true}})
		}
		o.GenerationSeen[facts.Server] = seen
		planned, err := Next(w.policy, o)
		if err != nil {
			t.Fatal(err)
		}
		return planned
	}
	trustBoth := []string{"publish ca: TrustChanged", "publish operator []: TrustChanged", "publish db-1 []: TrustChanged",
		"publish db-2 []: TrustChanged", "publish pgbouncer []: TrustChanged", "publish db-0 []: TrustChanged", "activate db-1-0"}
	for _, c := range []struct {
		name        string
		seen        int
		generations []int
		want        []string
	}{
		{"the one that is in use", 1, []int{1}, nil},
		{"a newer one is to be trusted first", 1, []int{1, 2}, trustBoth},
		{"in any order", 1, []int{2, 1}, trustBoth},
		{"a newer one was in use", 2, []int{1}, []string{"wait for server ca g2: AuthorityLost"}},
		{"a stranger's newer one does not stand in for the one in use", 1, []int{2}, []string{"wait for server ca g1: AuthorityLost"}},
		{"never made twice", 1, nil, []string{"wait for server ca g1: AuthorityLost"}},
	} {
		if diff := cmp.Diff(c.want, words(observe(c.seen, c.generations...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// An authority has two Secrets, and each is restored from the other, or from the memory of the operator that runs.
func TestDeletedAuthorityIsKept(t *testing.T) {
	gone, here, held := facts.Store{}, facts.Store{Present: true}, facts.Store{Present: true, Deleting: true}
	original, twin := "restore server g1: SecretMissing", "restore copy of server g1: SecretMissing"
	for _, c := range []struct {
		name           string
		original, copy facts.Store
		want           []string
	}{
		{"both are stored", here, here, nil},
		{"the original is deleted", gone, here, []string{original}},
		{"the copy is deleted", here, gone, []string{twin}},
		{"both are deleted, and the operator remembers it", gone, gone, []string{original, twin}},
		{"a finalizer of another program holds the original: it comes back when it has gone", held, here, nil},
		{"and the copy is deleted", held, gone, []string{twin}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, steps := range []int{1, all} { // a crash after the first step, and none
				w := given(authorityStored(facts.Server, c.original, c.copy))
				if diff := cmp.Diff(c.want, words(decide(t, w))); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				for range 5 {
					if _, err := w.round(steps); err != nil {
						t.Fatal(err)
					}
				}
				if a := w.authorities[facts.Server]; !a.original.Present || !a.copy.Present || len(w.newer[facts.Server]) > 0 {
					t.Errorf("it ends as %+v and %+v, with %d newer ones", a.original, a.copy, len(w.newer[facts.Server]))
				}
			}
		})
	}
	forgotten := given(secretLost(facts.Server))
	if diff := cmp.Diff([]string{"trustnew server g2: AuthorityLost", "wait for server ca g1: AuthorityLost"}, words(decide(t, forgotten))); diff != "" {
		t.Errorf("both are deleted and no operator remembers it (-want +got):\n%s", diff)
	}
}

// A leaf that ends with its authority is renewed no more: it would end at the same instant.
func TestAuthorityEndingNeverLoops(t *testing.T) {
	w := given(authorityEndsIn(facts.Client, 40*day))
	for range 39 { // and on the next day another authority takes its place
		if err := w.live(w.now.Add(day)); err != nil {
			t.Fatal(err)
		}
	}
	if w.serial > 9+5+4 {
		t.Errorf("%d leaves were issued: 9 at first, 5 client leaves once more, and 4 server leaves", w.serial)
	}
	if !w.now.After(w.authorities[facts.Client].certificate.NotAfter.Add(-clientWindow / 2)) {
		t.Fatal("the history is too short to tell")
	}
	w = given(authorityEndsIn(facts.Client, clientLife)) // every client leaf ends with it
	w.now = w.renewalOf("db-1", facts.Client)
	planned := decide(t, w)
	if why := message(planned, "db-1"); !strings.Contains(why, "ends with its authority") || len(planned.Steps()) > 0 {
		t.Errorf("steps %v, blocker %q", words(planned), why)
	}
}

func TestWakeIsExact(t *testing.T) {
	stuck := []fact{published("db-1"), asked("db-1-0"), slow("db-1-0")}
	with := func(premises ...fact) *world { return given(append(append([]fact{}, stuck...), premises...)...) }
	end := func(w *world, party string) time.Time { return w.member(party).leaf(facts.Client).NotAfter }
	for _, c := range []struct {
		name string
		w    *world
		want func(*world) time.Time
	}{
		{"the first renewal", given(), firstRenewal},
		{"the first renewal, while a pod is waited for", with(), firstRenewal},
		{"when a waiting leaf becomes urgent", with(endsIn("db-2", facts.Client, 6*day)),
			func(w *world) time.Time { return end(w, "db-2").Add(-clientWindow / 2) }},
		{"when a waiting pod becomes urgent", with(endsIn("db-2", facts.Client, 6*day), func(w *world) { published("db-2")(w) }),
			func(w *world) time.Time { _, c := w.pod("db-2-0"); return firstEnd(&c.active).Add(-clientWindow / 2) }},
		{"the authority's beginning", given(later(-2 * time.Hour)), func(*world) time.Time { return dawn.Add(-time.Hour) }},
		{"the authority's end", given(authorityEndsIn(facts.Server, 3*day), func(w *world) {
			for _, m := range w.members {
				if m.leaf(facts.Server) != nil {
					endsIn(m.name, facts.Server, 3*day)(w)
				}
			}
		}), func(w *world) time.Time { return w.authorities[facts.Server].certificate.NotAfter }},
	} {
		t.Run(c.name, func(t *testing.T) {
			planned := decide(t, c.w)
			want := c.want(c.w)
			if !planned.Wake.Equal(want) {
				t.Fatalf("wake %s, want %s", planned.Wake, want)
			}
			changesExactlyAtWake(t, c.w.policy, c.w.observe())
		})
	}
}

// firstRenewal computes the first renewal time that is still to come.
func firstRenewal(w *world) time.Time {
	var first time.Time
	for _, m := range w.members {
		for _, want := range m.wants {
			if at := w.renewalOf(m.name, want.Domain); at.After(w.now) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	return first
}

// failer is the part of testing.TB that rapid has too.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// changesExactlyAtWake says that the plan stays the same until Wake and is another one at Wake.
func changesExactlyAtWake(t failer, policy facts.Policy, o facts.Observed) {
	t.Helper()
	planned, _ := Next(policy, o)
	if planned.Wake.IsZero() {
		return
	}
	if !planned.Wake.After(o.Now) {
		t.Fatalf("wake %s is not after %s", planned.Wake, o.Now)
	}
	at := func(now time.Time) []string {
		later := o
		later.Now = now
		p, _ := Next(policy, later)
		told := append(words(p), "next renewal "+p.NextRenewal.String())
		for _, b := range p.Blockers {
			told = append(told, b.Message)
		}
		return told
	}
	before := at(o.Now)
	for _, moment := range []time.Time{o.Now.Add(planned.Wake.Sub(o.Now) / 2), planned.Wake.Add(-1)} {
		if diff := cmp.Diff(before, at(moment)); diff != "" {
			t.Errorf("the plan changes before its wake, at %s (-now +then):\n%s", moment, diff)
		}
	}
	if severalGenerations(o) {
		return // one may come to be able to sign, or no longer be, and still nothing is to be done about it
	}
	if cmp.Equal(before, at(planned.Wake)) {
		t.Errorf("nothing changes at the wake %s: %v", planned.Wake, before)
	}
}

func severalGenerations(o facts.Observed) bool {
	count := map[facts.Domain]int{}
	for _, a := range o.Authorities {
		count[a.Domain]++
	}
	return count[facts.Server] > 1 || count[facts.Client] > 1
}

func TestNextRenewal(t *testing.T) {
	w := given()
	if planned := decide(t, w); !planned.NextRenewal.Equal(firstRenewal(w)) {
		t.Errorf("next renewal %s, want %s", planned.NextRenewal, firstRenewal(w))
	}
	everythingDue(w)
	for _, m := range w.members {
		if m.leaf(facts.Server) != nil {
			due(m.name, facts.Server)(w)
		}
	}
	if planned := decide(t, w); !planned.NextRenewal.IsZero() {
		t.Errorf("every leaf is due, and the next renewal is said to be %s", planned.NextRenewal)
	}
	w = given(noAuthority(facts.Server), noAuthority(facts.Client))
	if planned := decide(t, w); !planned.NextRenewal.IsZero() {
		t.Errorf("nothing can be signed, and the next renewal is said to be %s", planned.NextRenewal)
	}
}

func TestPolicyThatMakesNoSense(t *testing.T) {
	for _, c := range []struct {
		name   string
		change fact
		want   string
	}{
		{"a leaf without a life", func(w *world) { w.member("db-1").wants[0].Life = 0 }, "the server leaf of db-1"},
		{"a window as long as the life", func(w *world) { w.member("db-1").wants[1].RenewBefore = clientLife }, "shorter than duration"},
		{"a negative window", func(w *world) { w.member("db-1").wants[1].RenewBefore = -1 }, "at least 0"},
		{"an authority without a life", func(w *world) { w.policy.Authorities[facts.Client] = facts.CertificatePolicy{} }, "the client authority"},
	} {
		w := given(c.change)
		planned, err := Next(w.policy, w.observe())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v does not say %q in one line", c.name, err, c.want)
		}
		if !reflect.DeepEqual(planned, plan.Plan{}) {
			t.Errorf("%s: a plan comes with the error: %v", c.name, words(planned))
		}
	}
}

func TestLeafWithoutCommonName(t *testing.T) {
	w := given(func(w *world) {
		w.member("db-1").wants[0].CommonName = ""
		w.member("db-1").leaf(facts.Server).Subject = ""
	})
	if lines := words(decide(t, w)); lines != nil {
		t.Errorf("a leaf that has the wanted empty subject is issued again: %v", lines)
	}
}

func TestStepsTellThemselves(t *testing.T) {
	for want, s := range map[string]plan.Step{
		"CreateAuthority server g1 (FirstGeneration)":     plan.CreateAuthority{Domain: facts.Server, Generation: 1, Reason: reason.FirstGeneration},
		"Publish db-1 [server client] (Due)":              plan.Publish{Party: "db-1", Reissue: facts.Domains(), Reason: reason.Due},
		"Activate db-1-0 abc (Published)":                 plan.Activate{Pod: "db-1-0", Revision: "abc", Reason: reason.Published},
		"Prove db-1-0 (Unproven)":                         plan.Prove{Pod: "db-1-0"},
		"PublishTrust (Missing)":                          plan.PublishTrust{Reason: reason.Missing},
		"RestoreAuthority server g1 copy (SecretMissing)": plan.RestoreAuthority{Domain: facts.Server, Generation: 1, Copy: true, Reason: reason.SecretMissing},
	} {
		if s.String() != want {
			t.Errorf("%q, want %q", s.String(), want)
		}
	}
}
