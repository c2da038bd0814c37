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
)

// Sentences about what is presented: a custom certificate once every verifier is known to trust it, or the own leaf.

const (
	adoptsFirst = "publish db-1 [] custom [server]: CustomChanged"
	ownFirst    = "publish db-1 [] own [server]: CustomChanged"
)

var adopts, ownAgain = []string{adoptsFirst, "activate db-1-0"}, []string{ownFirst, "activate db-1-0"}

// thrice is a wait of each of the three instances.
func thrice(line string) []string { return slices.Repeat([]string{line}, 3) }

// eachWaits is a wait that is told of each of the three instances.
func eachWaits(why string) []string {
	return []string{"wait for db-1: " + why, "wait for db-2: " + why, "wait for db-0: " + why}
}

// ready is a first custom certificate whose issuer everybody trusts.
func ready(more ...fact) []fact {
	return append([]fact{brings(party.Instance, facts.Server, "acme"), trusting(facts.Server, "acme")}, more...)
}

func TestWhatACustomCertificateWaitsFor(t *testing.T) {
	run(t, []sentence{
		{"nothing", ready(), adopts, plan.Renewing},
		{"the clients' ConfigMap", ready(publicTrust(facts.Present, "server-g1")),
			append([]string{"publish ca: TrustChanged"}, thrice("wait for the clients' ConfigMap: TrustNotLoaded")...), plan.Renewing},
		{"a ConfigMap that could not be read", ready(publicTrust(facts.Unknown, "acme", "server-g1")),
			append([]string{"wait for ca: MaterialUnknown"}, thrice("wait for the clients' ConfigMap: TrustNotLoaded")...), plan.Waiting},
		{"a bundle", ready(bundleReplaced("operator", facts.Server, "server-g1")),
			append([]string{"publish operator []: TrustChanged"}, thrice("wait for operator: TrustNotLoaded")...), plan.Renewing},
		{"its own bundle", ready(bundleReplaced("db-1", facts.Server, "server-g1")),
			append([]string{"publish db-1 []: TrustChanged"}, thrice("wait for db-1: TrustNotLoaded")...), plan.Renewing},
		{"material that could not be read", ready(unreadableSecret("pgbouncer")),
			append(thrice("wait for pgbouncer: TrustNotLoaded")[:2], "wait for pgbouncer: MaterialUnknown", "wait for pgbouncer: TrustNotLoaded"), plan.Waiting},
		{"a pod that has not loaded it", ready(bundleLoaded("pgbouncer-y", facts.Server, "server-g1")), thrice("wait for pgbouncer-y: TrustNotLoaded"), plan.Waiting},
		{"a pod of which that is unknown", ready(bundleLoaded("pgbouncer-y", facts.Server)), thrice("wait for pgbouncer-y: TrustNotLoaded"), plan.Waiting},
		{"a pod that says nothing", ready(unreachable("db-0-0")),
			append(thrice("wait for db-0-0: TrustNotLoaded"), "wait for db-0-0: AgentUnreachable"), plan.Waiting},
		{"a pod of a party whose Secret is gone", ready(secretGone("db-2"), bundleLoaded("db-2-0", facts.Server, "server-g1")),
			append([]string{"publish db-2 [server client]: Missing", "activate db-2-0"}, thrice("wait for db-2-0: TrustNotLoaded")...), plan.Renewing},
		{"not for a pod that has not started", ready(notStarted("db-2-0")), adopts, plan.Renewing},
		{"not for what is owned by another controller", ready(foreignSecret("db-2")), []string{adoptsFirst, "activate db-1-0", "wait for db-2: ForeignSecret"}, plan.Renewing},
		{"not for the ConfigMap, when replicas present it", []fact{brings(party.Instance, facts.Client, "acme"), trusting(facts.Client, "acme"), publicTrust(facts.Unknown)},
			[]string{"publish db-1 [] custom [client]: CustomChanged", "activate db-1-0", "wait for ca: MaterialUnknown"}, plan.Renewing},
		{"one party after the other", ready(adopted("db-1", facts.Server)), []string{"activate db-1-0"}, plan.Renewing},
		{"and the next one when it was seen", ready(adopted("db-1", facts.Server), activated("db-1-0"), proven("db-1-0")),
			[]string{"publish db-2 [] custom [server]: CustomChanged", "activate db-2-0"}, plan.Renewing},
		{"one pooler after the other", []fact{presenting(party.Pooler, facts.Server, "acme"), brings(party.Pooler, facts.Server, "acme"), adopted("pgbouncer", facts.Server), activated("pgbouncer-x"), proven("pgbouncer-x")},
			[]string{"activate pgbouncer-y"}, plan.Renewing},
	})
}

// Each guard keeps a certificate from being presented to a process that refuses it.
func TestWithoutAGuardACertificateIsPresentedTooEarly(t *testing.T) {
	decidesWithout(t, guardAnchorClients, []string{"publish ca: TrustChanged", adoptsFirst}, ready(publicTrust(facts.Present, "server-g1"))...)
	decidesWithout(t, guardAnchorMaterial, []string{"publish operator []: TrustChanged", adoptsFirst}, ready(bundleReplaced("operator", facts.Server, "server-g1"))...)
	decidesWithout(t, guardAnchorPod, adopts, ready(bundleLoaded("pgbouncer-y", facts.Server, "server-g1"))...)
	decidesWithout(t, guardAnchorFollowed, adopts, ready(trustPropagationDelay(time.Minute))...)
}

// What clients hold that follow the ConfigMap cannot be seen, so they are given time.
func TestFollowersAreGivenTimeToTakeAnIssuer(t *testing.T) {
	with := func(f ...fact) []fact { return ready(append([]fact{trustPropagationDelay(2 * time.Minute)}, f...)...) }
	waits := eachWaits("AwaitingTrustPropagation")
	renewed := []fact{presenting(party.Instance, facts.Server, "acme"), trustPropagationDelay(time.Hour), brings(party.Instance, facts.Server, "acme")}
	run(t, []sentence{
		{"two minutes", with(), waits, plan.Steady},
		{"a second is left of them", with(later(119 * time.Second)), waits, plan.Steady},
		{"which are over", with(later(2 * time.Minute)), adopts, plan.Renewing},
		{"not for what an anchor vouches for that vouched for the old one", renewed, adopts, plan.Renewing},
		{"nor for one that is cross-signed", append(slices.Clone(renewed[:2]), brings(party.Instance, facts.Server, "bank"), wanting(party.Instance, facts.Server, func(c *facts.Custom) { c.Anchors = []string{"acme", "bank"} }),
			trusting(facts.Server, "bank")), adopts, plan.Renewing},
		{"for another issuer's", append(slices.Clone(renewed[:2]), brings(party.Instance, facts.Server, "bank"), trusting(facts.Server, "bank")), waits, plan.Steady},
		{"for the anchor that was noted first, of two", with(wanting(party.Instance, facts.Server, crossSigned), later(time.Minute), trusting(facts.Server, "bank"), later(time.Minute)), adopts, plan.Renewing},
		{"not when it was noted at an unknown time, which is long ago", []fact{brings(party.Instance, facts.Server, "acme"), trusting(facts.Server, "acme"), ofAnchor("acme", func(a *facts.Anchor) { a.AdmittedAt = time.Time{} })},
			adopts, plan.Renewing},
		{"not where replicas present it: only the cluster's own verify that", []fact{brings(party.Instance, facts.Client, "acme"), trusting(facts.Client, "acme"), trustPropagationDelay(time.Hour)},
			[]string{"publish db-1 [] custom [client]: CustomChanged", "activate db-1-0"}, plan.Renewing},
		{"not for the own leaf: they trust it", []fact{presenting(party.Instance, facts.Server, "acme"), trustPropagationDelay(time.Hour), takesAway(party.Instance, facts.Server)}, ownAgain, plan.Renewing},
	})
	wakesAt(t, given(with()...), dawn.Add(2*time.Minute))
	if text := message(decide(t, given(with()...)), "db-1"); !strings.Contains(text, "2031-01-01T00:02:00Z") || !strings.Contains(text, "spec.tls.trustPropagationDelay") {
		t.Errorf("%q does not say until when, and why", text)
	}
}

// An anchor that was noted long ago may have come into the ConfigMap late, as when that could not be written.
func TestFollowersHaveTimeFromTheLastWriteOn(t *testing.T) {
	w := given(ready(trustPropagationDelay(time.Hour), later(day), func(w *world) { w.trust.ChangedAt = w.now })...)
	if diff := cmp.Diff(eachWaits("AwaitingTrustPropagation"), words(decide(t, w))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	wakesAt(t, w, w.now.Add(time.Hour))
}

func TestACustomCertificateAtBirth(t *testing.T) {
	w := birth(2, 1)
	brings(party.Instance, facts.Server, "acme")(w)
	brings(party.Pooler, facts.Server, "acme")(w)
	trustPropagationDelay(time.Hour)(w)
	for range 2 { // authorities first
		if planned := decide(t, w); len(planned.Adoptions) > 0 && planned.Adoptions[0].AffectedClients != "" {
			t.Errorf("no process knows it yet, and %s", planned.Adoptions[0].AffectedClients)
		}
		if err := w.run(decide(t, w), 3); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.rest(w.roundsToRest()); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.members {
		if m.kind != party.Operator && (len(m.secret.Customs) != 1 || m.pods[0].served != m.secret.Customs[0].Fingerprint) {
			t.Errorf("%s presents %v and serves %s", m.name, m.secret.Customs, m.pods[0].served)
		}
	}
	for _, line := range w.log {
		if strings.HasPrefix(line, "Publish ") && !strings.Contains(line, "operator") && !strings.Contains(line, "custom [server]") {
			t.Errorf("%s: at first something else was presented", line)
		}
	}
}

// A cluster whose Secrets were deleted is not one at its initial issuance: its processes know whom they trust.
func TestWhoseSecretsAreGoneIsNotBorn(t *testing.T) {
	run(t, []sentence{
		{"pods run", []fact{brings(party.Pooler, facts.Server, "acme"), secretGone("pgbouncer")},
			[]string{"admitanchor server acme: Wanted", "publish ca: TrustChanged", "publish operator []: TrustChanged", "publish db-1 []: TrustChanged", "publish db-2 []: TrustChanged",
				"publish pgbouncer [server client]: Missing", "publish db-0 []: TrustChanged", "activate db-1-0"}, plan.Renewing},
		{"none of its pods runs, and those of others do not trust it", []fact{brings(party.Pooler, facts.Server, "acme"), secretGone("pgbouncer"), notStarted("pgbouncer-x"), notStarted("pgbouncer-y")},
			[]string{"admitanchor server acme: Wanted", "publish ca: TrustChanged", "publish operator []: TrustChanged", "publish db-1 []: TrustChanged", "publish db-2 []: TrustChanged",
				"publish pgbouncer [server client]: Missing", "publish db-0 []: TrustChanged", "activate db-1-0"}, plan.Renewing},
		{"those of others do", []fact{presenting(party.Instance, facts.Server, "acme"), brings(party.Pooler, facts.Server, "acme"), trustPropagationDelay(time.Hour), secretGone("pgbouncer"), notStarted("pgbouncer-x"), notStarted("pgbouncer-y")},
			[]string{"publish pgbouncer [server client] custom [server]: Missing"}, plan.Renewing},
	})
}

// takenBack is the canary's material with its own leaf, and no pod was asked to use it.
func takenBack(w *world) {
	w.publishAs(w.member("db-1"), plan.Publish{Own: []facts.Domain{facts.Server}})
}

// trustingStrangers notes the second issuer, with the time that clients are given.
func trustingStrangers(w *world) {
	trustPropagationDelay(time.Hour)(w)
	admitted(facts.Server, "bank")(w)
}

func joins(index int) fact { return func(w *world) { w.join(index) } }

func TestAPartyThatJoinsPresentsWhatTheOthersDo(t *testing.T) {
	with := func(f ...fact) []fact {
		return append([]fact{presenting(party.Instance, facts.Server, "acme"), trustPropagationDelay(time.Hour), joins(5)}, f...)
	}
	same := "publish db-5 [server client] custom [server]: Missing"
	own := "publish db-5 [server client]: Missing"
	another := []fact{presenting(party.Instance, facts.Server, "acme"), trustPropagationDelay(time.Hour), brings(party.Instance, facts.Server, "bank"), trusting(facts.Server, "bank"), joins(5)}
	run(t, []sentence{
		{"at once", with(), []string{same}, plan.Renewing},
		{"although a pod gives no report", with(unreachable("db-0-0")), []string{same, "wait for db-0-0: AgentUnreachable"}, plan.Renewing},
		{"without an approval", with(wanting(party.Instance, facts.Server, unapproved)), []string{same}, plan.Renewing},
		{"not while a pod is known to lack the anchor", with(bundleLoaded("pgbouncer-x", facts.Server, "server-g1")),
			[]string{own, "wait for pgbouncer-x: TrustNotLoaded"}, plan.Renewing},
		{"nor when another party cannot be read besides", with(unreadableSecret("operator"), bundleLoaded("pgbouncer-x", facts.Server, "server-g1")),
			[]string{own, "wait for operator: MaterialUnknown", "wait for pgbouncer-x: TrustNotLoaded"}, plan.Renewing},
		{"and not what another kind does", []fact{presenting(party.Pooler, facts.Server, "acme"), trustPropagationDelay(time.Hour), func(w *world) {
			w.sources[slot{party.Instance, facts.Server}] = w.sources[slot{party.Pooler, facts.Server}]
		}, joins(5)}, []string{own, "wait for db-1: AwaitingTrustPropagation", "wait for db-2: AwaitingTrustPropagation", "wait for db-5: AwaitingTrustPropagation", "wait for db-0: AwaitingTrustPropagation"}, plan.Renewing},
		{"the own leaf while the others wait for another issuer's", another,
			append([]string{own}, "wait for db-1: AwaitingTrustPropagation", "wait for db-2: AwaitingTrustPropagation", "wait for db-5: AwaitingTrustPropagation", "wait for db-0: AwaitingTrustPropagation"), plan.Renewing},
	})
}

func TestImmediateWaitsForNoClient(t *testing.T) {
	now := wanting(party.Instance, facts.Server, immediately)
	run(t, []sentence{
		{"not even for the bundles", []fact{brings(party.Instance, facts.Server, "acme"), now, unreachable("db-0-0"), trustPropagationDelay(time.Hour)},
			[]string{"admitanchor server acme: Wanted", "publish ca: TrustChanged", "publish operator []: TrustChanged", adoptsFirst,
				"publish db-2 [] custom [server]: CustomChanged", "publish pgbouncer []: TrustChanged", "publish db-0 [] custom [server]: CustomChanged", "activate db-1-0"}, plan.Renewing},
		{"but for its turn", ready(now, published("db-1"), asked("db-1-0"), slow("db-1-0"), adopted("db-1", facts.Server), asked("db-1-0")), []string{"wait for db-1-0: AwaitingActivation"}, plan.Waiting},
	})
}

// A user that says so, and then does not, finds that processes refuse what was published: it is taken back.
func TestWhatIsRefusedIsTakenBackBeforeItIsUsed(t *testing.T) {
	gated := []fact{brings(party.Instance, facts.Server, "acme"), admitted(facts.Server, "acme"), func(w *world) {
		w.trust = facts.Trust{State: facts.Present, Anchors: []string{"acme", "server-g1"}}
		for _, m := range w.members {
			w.publish(m, nil) // and no pod has loaded that
		}
	}, adopted("db-1", facts.Server)}
	immediate := append(slices.Clone(gated), wanting(party.Instance, facts.Server, immediately))
	back := append([]string{ownFirst}, thrice("wait for db-0-0: TrustNotLoaded")...)
	run(t, []sentence{
		{"the user wants it at once", immediate, []string{"activate db-1-0"}, plan.Renewing},
		{"and says so no longer", gated, back, plan.Renewing},
		{"and wants another one", append(slices.Clone(immediate), brings(party.Instance, facts.Server, "bank"), trustingStrangers),
			append([]string{"publish ca: TrustChanged", "publish operator []: TrustChanged", ownFirst, "publish db-2 []: TrustChanged", "publish pgbouncer []: TrustChanged", "publish db-0 []: TrustChanged"},
				eachWaits("AwaitingTrustPropagation")...), plan.Renewing},
		{"a pod comes back that gave no answer in the last sixth: a party that presents it goes on, one that does not takes it back",
			[]fact{presenting(party.Instance, facts.Server, "acme"), brings(party.Instance, facts.Server, "bank"), trusting(facts.Server, "bank"), adopted("db-1", facts.Server), activated("db-1-0"), proven("db-1-0"),
				adopted("db-2", facts.Server), bundleLoaded("db-0-0", facts.Server, "acme", "server-g1")},
			[]string{"publish db-2 [] own [server]: CustomChanged", "wait for db-0-0: TrustNotLoaded", "wait for db-0-0: TrustNotLoaded"}, plan.Renewing},
	})
}

func TestManualWaitsForAPerson(t *testing.T) {
	run(t, []sentence{
		{"without an approval", ready(wanting(party.Instance, facts.Server, unapproved)), eachWaits("AwaitingApproval"), plan.Steady},
		{"one of them presents it already", ready(adopted("db-1", facts.Server), activated("db-1-0"), proven("db-1-0"), wanting(party.Instance, facts.Server, unapproved)),
			[]string{"publish db-2 [] custom [server]: CustomChanged", "activate db-2-0"}, plan.Renewing},
		{"however immediate it is", ready(wanting(party.Instance, facts.Server, unapproved), wanting(party.Instance, facts.Server, immediately)), eachWaits("AwaitingApproval"), plan.Steady},
	})
	w := given(ready(wanting(party.Instance, facts.Server, unapproved))...)
	if text := message(decide(t, w), "db-1"); !strings.Contains(text, "set the annotation pgtls.dev/adopt-approved to "+w.wanted(slot{party.Instance, facts.Server}).Content) {
		t.Errorf("%q does not say what to do", text)
	}
}

// What is presented now may end before a process that gives no answer gives one.
func TestWhoGivesNoAnswerIsNotWaitedForInTheLastSixth(t *testing.T) {
	with := func(rest time.Duration, f ...fact) []fact {
		return append([]fact{presenting(party.Instance, facts.Server, "acme"), presentedEndsIn(party.Instance, facts.Server, rest), brings(party.Instance, facts.Server, "acme")}, f...)
	}
	sixth := (customLife + backdate) / 6
	silent := append(thrice("wait for db-0-0: TrustNotLoaded"), "wait for db-0-0: AgentUnreachable")
	run(t, []sentence{
		{"a second before", with(sixth+time.Second, unreachable("db-0-0")), silent, plan.Waiting},
		{"in the last sixth", with(sixth, unreachable("db-0-0")), []string{adoptsFirst, "publish db-2 [] custom [server]: CustomChanged", "publish db-0 [] custom [server]: CustomChanged", "activate db-1-0"}, plan.Renewing},
		{"a pod that is known to refuse it is waited for", with(sixth, bundleLoaded("db-0-0", facts.Server, "server-g1")), thrice("wait for db-0-0: TrustNotLoaded"), plan.Waiting},
		{"also when an earlier party gives no answer", with(sixth, unreadableSecret("operator"), bundleLoaded("db-0-0", facts.Server, "server-g1")),
			append([]string{"wait for operator: MaterialUnknown"}, thrice("wait for db-0-0: TrustNotLoaded")...), plan.Waiting},
		{"a person too", with(sixth, wanting(party.Instance, facts.Server, unapproved)), eachWaits("AwaitingApproval"), plan.Steady},
	})
	wakesAt(t, given(with(sixth+time.Second, unreachable("db-0-0"))...), dawn.Add(time.Second))
	wakesAt(t, given(with(sixth+time.Second, adopted("db-1", facts.Server), asked("db-1-0"))...), dawn.Add(time.Second)) // it waits for its turn no longer
}

// Certificates of a few hours are renewed like others: one pod after the other.
func TestShortLivesAreNoHurry(t *testing.T) {
	hourly := func(rest time.Duration) []fact {
		return []fact{presenting(party.Instance, facts.Server, "acme"), func(w *world) {
			wanting(party.Instance, facts.Server, lasting(24*time.Hour))(w)
			for _, m := range w.members {
				if m.kind == party.Instance {
					adopted(m.name, facts.Server)(w)
				}
			}
			trustedEverywhere(w)
		}, presentedEndsIn(party.Instance, facts.Server, rest), brings(party.Instance, facts.Server, "acme"), wanting(party.Instance, facts.Server, lasting(24*time.Hour)),
			adopted("db-1", facts.Server), adopted("db-2", facts.Server), adopted("db-0", facts.Server)}
	}
	run(t, []sentence{
		{"half of it is left", hourly(12 * time.Hour), []string{"activate db-1-0"}, plan.Renewing},
		{"a sixth is left", hourly(4 * time.Hour), []string{"activate db-1-0", "activate db-2-0", "activate db-0-0"}, plan.Renewing},
	})
}

func TestTheOwnLeafTakesThePlace(t *testing.T) {
	ends := func(rest time.Duration, f ...fact) []fact {
		return append([]fact{presenting(party.Instance, facts.Server, "acme"), presentedEndsIn(party.Instance, facts.Server, rest)}, f...)
	}
	allEnd := eachWaits("CustomEnded")
	back := []string{ownFirst, "publish db-2 [] own [server]: CustomChanged", "publish db-0 [] own [server]: CustomChanged", "activate db-1-0", "activate db-2-0", "activate db-0-0"}
	run(t, []sentence{
		{"of what is not wanted any more", []fact{presenting(party.Instance, facts.Server, "acme"), takesAway(party.Instance, facts.Server)}, ownAgain, plan.Renewing},
		{"in its turn", []fact{presenting(party.Instance, facts.Server, "acme"), takesAway(party.Instance, facts.Server), takenBack, asked("db-1-0")},
			[]string{"wait for db-1-0: AwaitingActivation"}, plan.Waiting},
		{"of what ends, of all at once", ends(10 * time.Minute), append(slices.Clone(back), allEnd...), plan.Renewing},
		{"not a second before", ends(10*time.Minute + time.Second), nil, plan.Steady},
		{"of what is damaged and not wanted any more", []fact{presenting(party.Instance, facts.Server, "acme"), takesAway(party.Instance, facts.Server), customGarbled("db-2")},
			[]string{ownFirst, "publish db-2 [] own [server]: Damaged", "activate db-1-0"}, plan.Renewing},
		{"of what ends while its successor is not trusted", append(ends(10*time.Minute), brings(party.Instance, facts.Server, "bank"), trusting(facts.Server, "bank"), trustPropagationDelay(time.Hour)),
			append(slices.Clone(back), "wait for db-1: AwaitingTrustPropagation", "wait for db-1: CustomEnded", "wait for db-2: AwaitingTrustPropagation", "wait for db-2: CustomEnded", "wait for db-0: AwaitingTrustPropagation", "wait for db-0: CustomEnded"), plan.Renewing},
		{"of what ended: the custom one is not presented", []fact{brings(party.Instance, facts.Server, "acme"), trusting(facts.Server, "acme"), wanting(party.Instance, facts.Server, func(c *facts.Custom) { c.NotBefore, c.NotAfter = dawn.Add(-day), dawn.Add(time.Minute) })},
			allEnd, plan.Waiting},
	})
	wakesAt(t, given(ends(time.Hour)...), dawn.Add(50*time.Minute))
	wakesAt(t, given(ends(day, brings(party.Instance, facts.Server, "bank"), wanting(party.Instance, facts.Server, unapproved), trusting(facts.Server, "bank"))...), dawn.Add(day-10*time.Minute))
}

func TestADamagedCustomCertificateIsReplacedAtOnce(t *testing.T) {
	run(t, []sentence{
		{"by what is wanted", []fact{presenting(party.Instance, facts.Server, "acme"), customGarbled("db-0"), published("db-1"), asked("db-1-0")},
			[]string{"publish db-0 [] custom [server]: Damaged", "wait for db-1-0: AwaitingActivation"}, plan.Renewing},
		{"by its own leaf, while what is wanted is not trusted", []fact{presenting(party.Instance, facts.Server, "acme"), customGarbled("db-0"), brings(party.Instance, facts.Server, "bank"), trusting(facts.Server, "bank"), trustPropagationDelay(time.Hour)},
			append([]string{"publish db-0 [] own [server]: Damaged", "activate db-0-0"}, eachWaits("AwaitingTrustPropagation")...), plan.Renewing},
		{"and a missing one with it", []fact{presenting(party.Instance, facts.Server, "acme"), withoutLeaf("db-1", facts.Client), customGarbled("db-1")},
			[]string{"publish db-1 [client] custom [server]: Damaged", "activate db-1-0"}, plan.Renewing},
	})
}

func TestAdoptionsSayWhomTheyBreak(t *testing.T) {
	copied := "clients that hold only the present issuer refuse the new one until they take what the ConfigMap holds"
	toBank := []fact{presenting(party.Instance, facts.Server, "acme"), brings(party.Instance, facts.Server, "bank"), trusting(facts.Server, "bank")}
	for name, c := range map[string]struct {
		given []fact
		want  []plan.Adoption
	}{
		"none":        {[]fact{presenting(party.Instance, facts.Server, "acme")}, nil},
		"a first one": {ready(), []plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "content-10", AffectedClients: copied}}},
		"a renewal":   {[]fact{presenting(party.Instance, facts.Server, "acme"), brings(party.Instance, facts.Server, "acme")}, []plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "content-11", AffectedClients: ""}}},
		"another issuer's, of which clients say something already": {append(slices.Clone(toBank), bankRefused("db-1-0", 3), bankRefused("db-0-0", 4)),
			[]plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "content-11", AffectedClients: copied + "; when pod db-0-0 served it, clients broke off 4 handshakes; when pod db-1-0 served it, clients broke off 3 handshakes"}}},
		"the own leaf":          {[]fact{presenting(party.Instance, facts.Server, "acme"), takesAway(party.Instance, facts.Server)}, []plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "", AffectedClients: copied}}},
		"what replicas present": {[]fact{brings(party.Instance, facts.Client, "acme"), trusting(facts.Client, "acme")}, []plan.Adoption{{Kind: party.Instance, Domain: facts.Client, To: "content-10", AffectedClients: ""}}},
		"a party that joins":    {[]fact{presenting(party.Instance, facts.Server, "acme"), joins(5)}, []plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "content-10", AffectedClients: ""}}},
		"both kinds":            {ready(brings(party.Pooler, facts.Server, "acme")), []plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "content-10", AffectedClients: copied}, {Kind: party.Pooler, Domain: facts.Server, To: "content-11", AffectedClients: copied}}},
		"while it waits":        {ready(trustPropagationDelay(time.Hour)), []plan.Adoption{{Kind: party.Instance, Domain: facts.Server, To: "content-10", AffectedClients: copied}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, decide(t, given(c.given...)).Adoptions, sameKind); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func bankRefused(pod string, count int) fact {
	return of(pod, func(c *container) {
		c.refused = append(c.refused, facts.Refused{IssuerKeyID: "bank-key", Count: count, Served: time.Minute})
	})
}

// sameKind compares kinds of party: each is one variable.
var sameKind = cmp.Comparer(func(a, b *party.Kind) bool { return a == b })
