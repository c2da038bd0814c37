package rotation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/revocation"
)

// Sentences about anchors from elsewhere: noted, trusted, and dropped last. What is presented is in adoption_test.go.

// decidesWithout says what the plan begins with when a guard is left out.
func decidesWithout(t *testing.T, g string, want []string, premises ...fact) {
	t.Helper()
	w := given(premises...)
	planned, err := without(g).Next(w.policy, w.observe())
	if err != nil {
		t.Fatal(err)
	}
	lines := words(planned)
	if diff := cmp.Diff(want, lines[:min(len(want), len(lines))]); diff != "" {
		t.Errorf("without %q the plan begins with (-want +got):\n%s", g, diff)
	}
}

func TestAnAnchorIsNotedBeforeAnything(t *testing.T) {
	everybody := []string{"publish ca: TrustChanged", "publish operator []: TrustChanged", "publish db-1 []: TrustChanged",
		"publish db-2 []: TrustChanged", "publish pgbouncer []: TrustChanged", "publish db-0 []: TrustChanged", "activate db-1-0"}
	acme := brings(party.Instance, facts.Server, "acme")
	run(t, []sentence{
		{"noted first, and then in every bundle", []fact{acme},
			append([]string{"admitanchor server acme: Wanted"}, everybody...), plan.Renewing},
		{"noted, and no bundle holds it", []fact{besides("acme"), admitted(facts.Client, "acme")}, everybody[1:], plan.Renewing},
		{"of the client domain: not in the clients' ConfigMap", []fact{besides("acme")},
			append([]string{"admitanchor client acme: Wanted"}, everybody[1:]...), plan.Renewing},
		{"wanted again: it is unused no longer", []fact{presenting(party.Instance, facts.Server, "acme"), ofAnchor("acme", func(a *facts.Anchor) { a.UnusedSince = a.AdmittedAt })},
			[]string{"admitanchor server acme: Wanted"}, plan.Renewing},
		{"a transition of a re-key is taken beside", []fact{acme, rekeyRequested(facts.Client, "1")}, append([]string{"trustnew client g2: Requested", "admitanchor server acme: Wanted"}, everybody...), plan.Renewing},
		{"at rest nothing is written", []fact{presenting(party.Instance, facts.Server, "acme"), besides("bank"), trusting(facts.Client, "bank")}, nil, plan.Steady},
	})
}

// unused is an anchor that was trusted for what is not presented any more.
func unused(domain facts.Domain, anchor string, since time.Duration) fact {
	return func(w *world) {
		trusting(domain, anchor)(w)
		ofAnchor(anchor, func(a *facts.Anchor) { a.UnusedSince = w.now.Add(-since) })(w)
	}
}

func TestWhatDroppingAnAnchorWaitsFor(t *testing.T) {
	with := func(f ...fact) []fact {
		return append([]fact{unused(facts.Server, "acme", time.Hour), soak(time.Hour)}, f...)
	}
	drop := []string{"dropanchor server acme: Unused"}
	name := "wait for server-acme: "
	run(t, []sentence{
		{"nothing", with(), drop, plan.Renewing},
		{"its note", []fact{trusting(facts.Server, "acme")}, []string{"noteunused server acme: Unused"}, plan.Renewing},
		{"the soak", with(soak(time.Hour + time.Second)), []string{name + "AwaitingSoak"}, plan.Steady},
		{"a person", with(manual), []string{name + "AwaitingApproval"}, plan.Steady},
		{"not for a person who approved", with(manual, anchorApproved("server-acme")), drop, plan.Renewing},
		{"nor for the rest of the soak then", with(soak(day), anchorApproved("server-acme")), drop, plan.Renewing},
		{"a person who approved another one", with(manual, anchorApproved("client-acme")), []string{name + "AwaitingApproval"}, plan.Steady},
		{"a pod that says nothing", with(unreachable("db-1-0")), []string{"wait for db-1-0: AgentUnreachable"}, plan.Waiting},
		{"an unproven pod", with(unproven("db-1-0")), []string{"prove db-1-0"}, plan.Renewing},
		{"a pod that uses what was before", with(usesWhatWasBefore("db-1-0")), []string{"wait for db-1-0: AwaitingActivation"}, plan.Waiting},
		{"material that cannot be read", with(unreadableSecret("db-1")), []string{"wait for db-1: MaterialUnknown"}, plan.Waiting},
		{"not for what is owned by another controller", with(foreignSecret("db-1")), append(slices.Clone(drop), "wait for db-1: ForeignSecret"), plan.Renewing},
		{"not for a pod that has not started", with(notStarted("db-1-0")), drop, plan.Renewing},
		{"nothing, when it has expired", with(soak(day), manual, unreachable("db-1-0"), ofAnchor("acme", func(a *facts.Anchor) { a.NotAfter = dawn })),
			append(slices.Clone(drop), "wait for db-1-0: AgentUnreachable"), plan.Renewing},
		{"another second of its life", with(manual, ofAnchor("acme", func(a *facts.Anchor) { a.NotAfter = dawn.Add(time.Second) })), []string{name + "AwaitingApproval"}, plan.Steady},
		{"not at all while it is wanted", with(besides("bank"), trusting(facts.Client, "bank"), ofAnchor("bank", func(a *facts.Anchor) { a.NotAfter = dawn })), drop, plan.Renewing},
	})
	decidesWithout(t, guardAnchorSettled, drop, with(unreachable("db-1-0"))...)
}

// leaving is a custom certificate that is presented everywhere and not wanted any more.
func leaving(w *world) {
	presenting(party.Instance, facts.Server, "acme")(w)
	takesAway(party.Instance, facts.Server)(w)
	ofAnchor("acme", func(a *facts.Anchor) { a.UnusedSince = w.now })(w)
}

func TestAnAnchorStaysWhileItIsPresented(t *testing.T) {
	run(t, []sentence{
		{"every party presents it", []fact{leaving}, []string{"publish db-1 [] own [server]: CustomChanged", "activate db-1-0"}, plan.Renewing},
		{"the last one does", []fact{leaving, func(w *world) {
			w.member("db-1").secret.Customs, w.member("db-2").secret.Customs = nil, nil
			trustedEverywhere(w)
		}}, []string{"publish db-0 [] own [server]: CustomChanged", "activate db-0-0"}, plan.Renewing},
		{"it is damaged, and a pod may present it", []fact{leaving, customGarbled("db-0"), unreachable("db-1-0")},
			[]string{"publish db-1 [] own [server]: CustomChanged", "publish db-0 [] own [server]: Damaged", "wait for db-1-0: AgentUnreachable"}, plan.Renewing},
	})
	decidesWithout(t, guardAnchorPublished, []string{"dropanchor server acme: Unused"}, leaving, failed(plan.Publish{Party: "db-1"}), failed(plan.Publish{Party: "db-2"}), failed(plan.Publish{Party: "db-0"}))
}

// A client that is connected with a certificate that an anchor vouches for would be refused when it reconnects.
func TestNoClientIsCutOffByDroppingAnAnchor(t *testing.T) {
	with := func(f ...fact) []fact { return append([]fact{unused(facts.Client, "acme", 0)}, f...) }
	drop := []string{"dropanchor client acme: Unused"}
	bank := []fact{besides("bank"), trusting(facts.Client, "bank")}
	inUse := []string{"wait for db-0-0: StillInUse"}
	run(t, []sentence{
		{"no client is connected", with(), drop, plan.Renewing},
		{"one with a certificate of it", with(foreignSession("db-0-0", "acme")), inUse, plan.Waiting},
		{"one of an unknown issuer: it may be this one's", with(foreignSession("db-0-0", "acme's intermediate")), inUse, plan.Waiting},
		{"one with a certificate of another anchor", with(append(bank, foreignSession("db-0-0", "bank"))...), drop, plan.Renewing},
		{"one with a certificate of the cluster's own authority", with(session("db-0-0", 1)), drop, plan.Renewing},
		{"the sessions are unknown", with(sessionsUnknown("db-2-0")), []string{"wait for db-2-0: SessionsUnknown"}, plan.Waiting},
		{"every client that is connected is named", with(foreignSession("db-0-0", "acme"), sessionsUnknown("db-2-0")),
			[]string{"wait for db-0-0: StillInUse", "wait for db-2-0: SessionsUnknown"}, plan.Waiting},
		{"nor is it noted as unused", []fact{trusting(facts.Client, "acme"), foreignSession("db-0-0", "acme")}, inUse, plan.Waiting},
		{"the other domain's goes on", []fact{unused(facts.Server, "acme", 0), foreignSession("db-0-0", "acme"), sessionsUnknown("db-2-0")},
			[]string{"dropanchor server acme: Unused"}, plan.Renewing},
		{"one that has expired", with(foreignSession("db-0-0", "acme"), ofAnchor("acme", func(a *facts.Anchor) { a.NotAfter = dawn })), drop, plan.Renewing},
	})
	decidesWithout(t, guardAnchorSessions, drop, with(foreignSession("db-0-0", "acme"))...)
	text := message(decide(t, given(with(foreignSession("db-0-0", "acme"))...)), "db-0-0")
	for _, want := range []string{"user ann", "10.0.0.9", "CN=acme", "issue a new certificate and reconnect"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}

func TestAnAnchorIsApprovedByItsName(t *testing.T) {
	a := facts.Anchor{Domain: facts.Client, Fingerprint: "0123456789abcdef"}
	if got, want := revocation.AnchorName(&a), "client-0123456789ab"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w := given(unused(facts.Server, "acme", 0), manual)
	if text := message(decide(t, w), "server-acme"); !strings.Contains(text, "set the annotation pgtls.dev/retire-approved to server-acme") {
		t.Errorf("%q does not say what to do", text)
	}
}

func TestWakeForAnAnchor(t *testing.T) {
	for name, c := range map[string]struct {
		given []fact
		want  time.Time
	}{
		"the end of the soak":                       {[]fact{unused(facts.Server, "acme", time.Minute), soak(time.Hour)}, dawn.Add(59 * time.Minute)},
		"its own end, while a person is waited for": {[]fact{unused(facts.Server, "acme", 0), manual, ofAnchor("acme", func(a *facts.Anchor) { a.NotAfter = dawn.Add(day) })}, dawn.Add(day)},
		"its own end, while a session came with it": {[]fact{unused(facts.Client, "acme", 0), foreignSession("db-0-0", "acme"),
			ofAnchor("acme", func(a *facts.Anchor) { a.NotAfter = dawn.Add(day) })}, dawn.Add(day)},
	} {
		t.Run(name, func(t *testing.T) { wakesAt(t, given(c.given...), c.want) })
	}
}

// wakesAt says that the plan changes exactly at an instant, and that the operator wakes then.
func wakesAt(t *testing.T, w *world, want time.Time) {
	t.Helper()
	planned := decide(t, w)
	if !planned.Wake.Equal(want) {
		t.Errorf("wakes at %s, want %s; the plan: %q", planned.Wake, want, words(planned))
	}
	changesExactlyAtWake(t, w.policy, w.observe())
}

// Trusted first, presented after, dropped last; and then nothing is written any more.
func TestACertificateFromElsewhereFromEndToEnd(t *testing.T) {
	w := given(soak(time.Hour), trustPropagationDelay(2*time.Minute))
	restful := func(what string) {
		t.Helper()
		if err := w.live(w.now.Add(day)); err != nil {
			t.Fatal(what, err)
		}
		if planned := decide(t, w); planned.State != plan.Steady || len(planned.Blockers) > 0 || len(planned.Adoptions) > 0 {
			t.Errorf("%s: %s, %q, %v", what, planned.State, words(planned), planned.Adoptions)
		}
	}
	presented := func() (by []string) {
		for _, m := range w.members {
			for _, c := range m.pods {
				for _, p := range c.customs {
					by = append(by, c.name+" "+string(p.Domain)+" "+p.Anchors[0])
				}
			}
		}
		return by
	}
	anchors := func() (all []string) {
		for _, a := range w.record {
			all = append(all, string(a.Domain)+" "+a.Fingerprint)
		}
		return all
	}
	for _, c := range []struct {
		name      string
		happens   fact
		presented []string
		anchors   []string
	}{
		{"one comes", brings(party.Instance, facts.Server, "acme"), []string{"db-0-0 server acme", "db-1-0 server acme", "db-2-0 server acme"}, []string{"server acme"}},
		{"one for replicas", brings(party.Instance, facts.Client, "bank"), []string{"db-0-0 server acme", "db-0-0 client bank", "db-1-0 server acme", "db-1-0 client bank",
			"db-2-0 server acme", "db-2-0 client bank"}, []string{"server acme", "client bank"}},
		{"another issuer's", brings(party.Instance, facts.Server, "bank"), []string{"db-0-0 server bank", "db-0-0 client bank", "db-1-0 server bank", "db-1-0 client bank",
			"db-2-0 server bank", "db-2-0 client bank"}, []string{"client bank", "server bank"}},
		{"what is bad changes nothing", spoils(party.Instance, facts.Server), []string{"db-0-0 server bank", "db-0-0 client bank", "db-1-0 server bank", "db-1-0 client bank",
			"db-2-0 server bank", "db-2-0 client bank"}, []string{"client bank", "server bank"}},
		{"it goes", takesAway(party.Instance, facts.Server), []string{"db-0-0 client bank", "db-1-0 client bank", "db-2-0 client bank"}, []string{"client bank"}},
		{"the other one too", takesAway(party.Instance, facts.Client), nil, nil},
		{"one for the poolers", brings(party.Pooler, facts.Server, "acme"), []string{"pgbouncer-x server acme", "pgbouncer-y server acme"}, []string{"server acme"}},
	} {
		c.happens(w)
		restful(c.name)
		if diff := cmp.Diff(c.presented, presented()); diff != "" {
			t.Errorf("%s: presented (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.anchors, anchors()); diff != "" {
			t.Errorf("%s: noted (-want +got):\n%s", c.name, diff)
		}
	}
}
