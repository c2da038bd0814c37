package rotation

import (
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// backupRestored is a cluster that was re-keyed from g1 to g2, and whose Secrets were then replaced by an older backup: g1 is back,
// and of g2 nothing is left but what bundles and pods hold.
func backupRestored(w *world) {
	reissued(w)
	w.generation(facts.Server, 2).marks.Retired = []int{1}
	trustedEverywhere(w) // g1 is in no bundle any more
	secretLost(facts.Server)(w)
}

// The newest evidence wins over an older backup: what was retired is not trusted again.
func TestAnOldBackupBringsBackNoTrust(t *testing.T) {
	lost := "wait for server ca g2: AuthorityLost"
	trustBoth := []string{"publish ca: TrustChanged", "publish operator []: TrustChanged", "publish db-1 []: TrustChanged",
		"publish db-2 []: TrustChanged", "publish pgbouncer []: TrustChanged", "publish db-0 []: TrustChanged"}
	allSilent := func(w *world) {
		for _, m := range w.members {
			for _, c := range m.pods {
				c.unreachable = true
			}
		}
	}
	run(t, []sentence{
		{"every pod has loaded g2 alone: g3 is made", []fact{backupRestored}, []string{"trustnew server g3: AuthorityLost", lost}, plan.Renewing},
		{"a pod that gives no report is no evidence for g1", []fact{backupRestored, unreachable("db-1-0")},
			[]string{"trustnew server g3: AuthorityLost", lost, "wait for db-1-0: AgentUnreachable"}, plan.Renewing},
		{"a pod has loaded g1 besides: it may not have been dropped, and is trusted before it is active", []fact{backupRestored, bundleLoaded("db-1-0", facts.Server, "server-g1", "server-g2")},
			append(append([]string{}, trustBoth...), "activate db-1-0", lost), plan.Renewing},
		{"no pod gives a report: nothing says that it was dropped", []fact{backupRestored, allSilent},
			append(append([]string{}, trustBoth...), lost, "wait for db-1-0: AgentUnreachable"), plan.Renewing},
	})
	w := given(backupRestored)
	turns := turnsOf(t, w)
	if len(turns) != 4 && len(turns) != 5 {
		t.Errorf("transitions %q", turns)
	}
	for _, m := range w.members {
		for _, anchor := range m.secret.Anchors.Server {
			if anchor != "server-g3" {
				t.Errorf("%s trusts %s in the end", m.name, anchor)
			}
		}
	}
}

// A re-key is rolled back only to what no bundle and no process is known to lack.
func TestWhatARollBackWaitsFor(t *testing.T) {
	undone := func(f ...fact) []fact {
		return append([]fact{reissued, soak(time.Hour), rollbackRequested(facts.Server, "1")}, f...)
	}
	back := "rollback server g2: RolledBack"
	nothing := "wait for server ca g2: NothingToRollBack"
	run(t, []sentence{
		{"nothing", undone(), []string{back}, plan.Renewing},
		{"not for a pod that gives no report", undone(unreachable("db-1-0")), []string{back, "wait for db-1-0: AgentUnreachable"}, plan.Renewing},
		{"a pod that has loaded the new authority alone", undone(bundleLoaded("db-1-0", facts.Server, "server-g2")),
			[]string{nothing, "wait for server ca g1: AwaitingSoak"}, plan.Steady},
		{"a bundle without the old one, which is written first", undone(bundleReplaced("operator", facts.Server, "server-g2")),
			[]string{"publish operator []: TrustChanged", nothing, "wait for server ca g1: AwaitingSoak"}, plan.Renewing},
		{"a ConfigMap without the old one", undone(publicTrust(facts.Present, "server-g2")),
			[]string{"publish ca: TrustChanged", nothing, "wait for server ca g1: AwaitingSoak"}, plan.Renewing},
	})
}

// A transition that takes trust away was decided on what pods use, and waits for a plan that publishes nothing.
func TestTrustIsTakenAwayOnlyWhereNothingIsPublished(t *testing.T) {
	run(t, []sentence{
		{"no authority is dropped beside a renewal", []fact{reissued, due("db-1", facts.Client)}, []string{"publish db-1 [client]: Due", "activate db-1-0"}, plan.Renewing},
		{"but beside one that fails", []fact{reissued, due("db-1", facts.Client), failed(plan.Publish{Party: "db-1"})},
			[]string{"dropold server g1: Unused", waitsFor(plan.Publish{Party: "db-1"})}, plan.Renewing},
		{"no anchor either", []fact{unused(facts.Server, "acme", time.Hour), due("db-1", facts.Client)}, []string{"publish db-1 [client]: Due", "activate db-1-0"}, plan.Renewing},
	})
}

// What is never to be active is not put into bundles that do not hold it.
func TestATaintedSuccessorIsNotSpread(t *testing.T) {
	run(t, []sentence{
		{"tainted before any bundle holds it", []fact{nextGeneration(facts.Server), tainted(facts.Server, 2)}, []string{"rollback server g2: Tainted"}, plan.Renewing},
		{"rolled back before any bundle holds it", []fact{nextGeneration(facts.Server), withoutBridges(facts.Server), beingRolledBack(facts.Server, 2)}, []string{"dropold server g2: Unused"}, plan.Renewing},
	})
}

// An authority may have been dropped by one that is lost: it is active when the clients' ConfigMap is known to hold it too.
func TestTheConfigMapCountsWhereANoteIsLost(t *testing.T) {
	w := given(reissued, lostGeneration(facts.Server, 2), func(w *world) { trustedEverywhere(w) }, publicTrust(facts.Present, "server-g2"))
	planned := decide(t, w)
	if planned.Active.Server != 0 || !has[plan.PublishTrust](planned) {
		t.Errorf("g%d is active, and the plan is %q", planned.Active.Server, words(planned))
	}
}
