package rotation

import (
	"strings"
	"testing"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Each invariant is shown by a step that breaks it and one beside it that does not.
func TestInvariants(t *testing.T) {
	activate := func(pod string) func(*world) plan.Step {
		return func(w *world) plan.Step {
			m, _ := w.pod(pod)
			return plan.Activate{Party: m.name, Pod: pod, Revision: m.secret.Revision}
		}
	}
	step := func(s plan.Step) func(*world) plan.Step { return func(*world) plan.Step { return s } }
	published := []fact{published("db-1"), published("db-2"), published("pgbouncer"), published("db-0")}
	with := func(f ...fact) []fact { return append(append([]fact{}, published...), f...) }
	for _, c := range []struct {
		name   string
		given  []fact
		step   func(*world) plan.Step
		broken string // "" when the step may be taken
	}{
		{"the first pod in the order", published, activate("db-1-0"), ""},
		{"the second before the first", published, activate("db-2-0"), "UnknownIsNo"},
		{"the second after the first was seen", with(activated("db-1-0"), proven("db-1-0")), activate("db-2-0"), ""},
		{"the second when the first is active and unproven", with(activated("db-1-0")), activate("db-2-0"), "UnknownIsNo"},
		{"the second when the first says nothing", []fact{unreachable("db-1-0")}, activate("db-2-0"), "UnknownIsNo"},
		{"the second when the first has not started", with(notStarted("db-1-0")), activate("db-2-0"), ""},
		{"the second when the first is owned by another controller", with(foreignSecret("db-1")), activate("db-2-0"), ""},
		{"a pod of a party owned by another controller", with(foreignSecret("db-1")), activate("db-1-0"), "SoundBeforeUse"},
		{"a port that was not seen", []fact{portSilent("db-1-0", "agent")}, activate("db-2-0"), "UnknownIsNo"},
		{"the primary while a pooler is not settled", []fact{unproven("pgbouncer-y")}, activate("db-0-0"), "UnknownIsNo"},
		{"another one while a later one is asked", with(asked("db-0-0")), activate("db-1-0"), "UnknownIsNo"},
		{"the one that is asked once more", with(asked("db-1-0")), activate("db-1-0"), ""},
		{"an urgent one while a later one is asked", with(asked("db-0-0"), urgent("db-1"), published[0]), activate("db-1-0"), ""},
		{"an urgent one before the first", with(urgent("db-0"), published[3]), activate("db-0-0"), ""},
		{"an urgent one that says nothing", with(urgent("db-0"), published[3], unreachable("db-0-0")), activate("db-0-0"), "UnknownIsNo"},
		{"an unknown pod", published, step(plan.Activate{Party: "db-1", Pod: "ghost", Revision: "r"}), "UnknownIsNo"},

		{"a revision that was not read back", published, step(plan.Activate{Party: "db-1", Pod: "db-1-0"}), "SoundBeforeUse"},
		{"an older revision", published, step(plan.Activate{Party: "db-1", Pod: "db-1-0", Revision: "older"}), "SoundBeforeUse"},
		{"a garbled revision", with(garbled("db-1", facts.Server)), activate("db-1-0"), "SoundBeforeUse"},
		{"an altered revision", with(altered("db-1")), activate("db-1-0"), "SoundBeforeUse"},
		{"a revision without a leaf", with(withoutLeaf("db-1", facts.Client)), activate("db-1-0"), "SoundBeforeUse"},
		{"a revision without a bundle", with(bundleGone("db-1", facts.Client)), activate("db-1-0"), "SoundBeforeUse"},
		{"a revision that is gone", with(secretGone("db-1")), step(plan.Activate{Party: "db-1", Pod: "db-1-0", Revision: "r"}), "SoundBeforeUse"},
		{"an unknown party", published, step(plan.Activate{Party: "ghost", Pod: "db-1-0", Revision: "r"}), "UnknownIsNo"},

		{"a bundle elsewhere that lacks the authority", with(bundleReplaced("db-0", facts.Server, "stranger")), activate("db-1-0"), "TrustBeforeUse"},
		{"a bundle elsewhere that is empty", with(bundleReplaced("operator", facts.Client)), activate("db-1-0"), "TrustBeforeUse"},
		{"a bundle elsewhere that holds one more", with(bundleReplaced("db-0", facts.Server, "stranger", "server-g1")), activate("db-1-0"), ""},
		{"an unknown bundle elsewhere", with(bundleGone("db-0", facts.Server)), activate("db-1-0"), ""},
		{"a stranger's leaf", with(leafOfStranger("db-1", facts.Client)), activate("db-1-0"), "TrustBeforeUse"},
		{"a leaf whose authority is gone", with(noAuthority(facts.Client)), activate("db-1-0"), "TrustBeforeUse"},

		{"a process that has loaded only the other authority", append([]fact{nextGeneration(facts.Server), trustedEverywhere, bundleLoaded("db-0-0", facts.Server, "server-g2")}, published...),
			activate("db-1-0"), ""}, // the bridge leads there
		{"a process that no bridge leads to", append([]fact{nextGeneration(facts.Server), withoutBridges(facts.Server), trustedEverywhere, bundleLoaded("db-0-0", facts.Server, "server-g2")}, published...),
			activate("db-1-0"), "MutualTrust"},
		{"a process that trusts only strangers", with(bundleLoaded("db-0-0", facts.Server, "stranger")), activate("db-1-0"), ""},

		{"a leaf that outlives its authority", with(authorityEndsIn(facts.Server, serverLife-1)), activate("db-1-0"), "LeafWithinAuthority"},
		{"a leaf that ends with its authority", with(authorityEndsIn(facts.Server, serverLife)), activate("db-1-0"), ""},

		{"a first authority", []fact{noAuthority(facts.Server)}, step(plan.CreateAuthority{Domain: facts.Server, Generation: 1}), ""},
		{"a second authority", nil, step(plan.CreateAuthority{Domain: facts.Server, Generation: 2}), "OneSigner"},
		{"the next generation", nil, step(plan.TrustNew{Domain: facts.Server, Generation: 2}), ""},
		{"the next generation beside one that cannot sign", []fact{authorityProblem(facts.Server, reason.AuthorityUnreadable)}, step(plan.TrustNew{Domain: facts.Server, Generation: 2}), ""},
		{"a generation twice", nil, step(plan.TrustNew{Domain: facts.Server, Generation: 1}), "OneSigner"},
		{"a third while the second waits to sign", []fact{nextGeneration(facts.Server)}, step(plan.TrustNew{Domain: facts.Server, Generation: 3}), "OneSigner"},
		{"a third when the second signs", []fact{nextGeneration(facts.Server), switched(facts.Server, 2)}, step(plan.TrustNew{Domain: facts.Server, Generation: 3}), ""},

		{"to sign before the bundles hold it", []fact{nextGeneration(facts.Server)}, step(plan.SwitchSigner{Domain: facts.Server, Generation: 2}), "TrustBeforeUse"},
		{"to sign when everybody holds it", []fact{nextGeneration(facts.Server), trustedEverywhere}, step(plan.SwitchSigner{Domain: facts.Server, Generation: 2}), ""},
		{"to sign while a pod has not loaded it", []fact{nextGeneration(facts.Server), trustedEverywhere, bundleLoaded("db-1-0", facts.Server, "server-g1")},
			step(plan.SwitchSigner{Domain: facts.Server, Generation: 2}), "TrustBeforeUse"},
		{"to sign while a pod says nothing", []fact{nextGeneration(facts.Server), trustedEverywhere, unreachable("db-1-0")},
			step(plan.SwitchSigner{Domain: facts.Server, Generation: 2}), "TrustBeforeUse"},
		{"to sign while the ConfigMap lacks it", []fact{nextGeneration(facts.Server), trustedEverywhere, publicTrust(facts.Present, "server-g1")},
			step(plan.SwitchSigner{Domain: facts.Server, Generation: 2}), "TrustBeforeUse"},
		{"to sign when it cannot", []fact{authorityProblem(facts.Server, reason.AuthorityUnreadable)}, step(plan.SwitchSigner{Domain: facts.Server, Generation: 1}), "TrustBeforeUse"},

		{"to drop what issued everything", nil, step(plan.DropOld{Domain: facts.Server, Generation: 1}), "UseBeforeRetire"},
		{"to drop what nothing was issued by", []fact{nextGeneration(facts.Server), trustedEverywhere}, step(plan.DropOld{Domain: facts.Server, Generation: 2}), ""},
		{"to drop while a pod says nothing", []fact{nextGeneration(facts.Server), trustedEverywhere, unreachable("db-1-0")},
			step(plan.DropOld{Domain: facts.Server, Generation: 2}), "UseBeforeRetire"},
		{"to drop an unknown authority", nil, step(plan.DropOld{Domain: facts.Server, Generation: 7}), "UseBeforeRetire"},
		{"to discard what is trusted", []fact{nextGeneration(facts.Server), trustedEverywhere}, step(plan.DiscardAuthority{Domain: facts.Server, Generation: 2}), "UseBeforeRetire"},
		{"to discard what clients trust", []fact{nextGeneration(facts.Server), publicTrust(facts.Present, "server-g1", "server-g2")},
			step(plan.DiscardAuthority{Domain: facts.Server, Generation: 2}), "UseBeforeRetire"},
		{"to discard what no bundle holds", []fact{nextGeneration(facts.Server)}, step(plan.DiscardAuthority{Domain: facts.Server, Generation: 2}), ""},
		{"a custom certificate that everybody accepts", ready(adopted("db-1", facts.Server)), activate("db-1-0"), ""},
		{"one that a process does not accept", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server, "server-g1")), activate("db-1-0"), "MutualTrust"},
		{"one that the process itself does not accept", ready(adopted("db-1", facts.Server), bundleLoaded("db-1-0", facts.Server, "server-g1")), activate("db-1-0"), ""},
		{"one that is cross-signed by what a process has loaded", ready(wanting(party.Instance, facts.Server, crossSigned), adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server, "bank", "server-g1")),
			activate("db-1-0"), ""},
		{"one that replicas present and the primary does not accept", []fact{brings(party.Instance, facts.Client, "acme"), trusting(facts.Client, "acme"), adopted("db-1", facts.Client), bundleLoaded("db-0-0", facts.Client, "client-g1")},
			activate("db-1-0"), "MutualTrust"},
		{"one of the other domain than a process lacks", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Client, "client-g1")), activate("db-1-0"), ""},
		{"a process that says nothing of it", ready(adopted("db-1", facts.Server), unreachable("db-0-0")), activate("db-1-0"), ""},
		{"a process of which it is unknown", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server)), activate("db-1-0"), ""},
		{"a process that accepts no certificate as it is", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server, "stranger")), activate("db-1-0"), ""},
		{"a process that is not ours", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server, "server-g1"), foreignSecret("db-0")), activate("db-1-0"), ""},
		{"one that the user wants at once", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server, "server-g1"), wanting(party.Instance, facts.Server, immediately)),
			activate("db-1-0"), ""},
		{"one whose successor the user wants at once", ready(adopted("db-1", facts.Server), bundleLoaded("db-0-0", facts.Server, "server-g1"), brings(party.Instance, facts.Server, "bank"), wanting(party.Instance, facts.Server, immediately)),
			activate("db-1-0"), "MutualTrust"},

		{"to drop an anchor that nothing needs", []fact{trusting(facts.Server, "acme")}, step(dropAnchor(facts.Server, "acme")), ""},
		{"to drop one that is presented", []fact{presenting(party.Instance, facts.Server, "acme")}, step(dropAnchor(facts.Server, "acme")), "UseBeforeRetire"},
		{"to drop one that is presented in the other domain", []fact{presenting(party.Instance, facts.Client, "acme"), trusting(facts.Server, "acme")}, step(dropAnchor(facts.Server, "acme")), ""},
		{"to drop one that was replaced, while a pod presents what was before", []fact{presenting(party.Instance, facts.Server, "acme"), takesAway(party.Instance, facts.Server), takenBack},
			step(dropAnchor(facts.Server, "acme")), "UseBeforeRetire"},
		{"to drop one while a pod says nothing", []fact{trusting(facts.Server, "acme"), unreachable("db-1-0")}, step(dropAnchor(facts.Server, "acme")), "UseBeforeRetire"},
		{"to drop one while what is not ours says nothing", []fact{trusting(facts.Server, "acme"), unreachable("db-1-0"), foreignSecret("db-1")}, step(dropAnchor(facts.Server, "acme")), ""},
		{"to drop one that has expired", []fact{presenting(party.Instance, facts.Server, "acme"), unreachable("db-1-0"), ofAnchor("acme", func(a *facts.Anchor) { a.NotAfter = dawn })},
			step(dropAnchor(facts.Server, "acme")), ""},
		{"to drop one when another has expired", []fact{presenting(party.Instance, facts.Server, "acme"), admitted(facts.Server, "bank"), ofAnchor("bank", func(a *facts.Anchor) { a.NotAfter = dawn })},
			step(dropAnchor(facts.Server, "acme")), "UseBeforeRetire"},

		{"the other domain's first", []fact{noAuthority(facts.Client)}, step(plan.CreateAuthority{Domain: facts.Client, Generation: 1}), ""},

		{"to restore the copy from the original", []fact{authorityStored(facts.Server, facts.Store{Present: true}, facts.Store{})},
			step(plan.RestoreAuthority{Domain: facts.Server, Generation: 1, Copy: true}), ""},
		{"to restore the original from the copy", []fact{authorityStored(facts.Server, facts.Store{}, facts.Store{Present: true})},
			step(plan.RestoreAuthority{Domain: facts.Server, Generation: 1}), ""},
		{"to restore from memory", []fact{authorityStored(facts.Server, facts.Store{}, facts.Store{})}, step(plan.RestoreAuthority{Domain: facts.Server, Generation: 1}), ""},
		{"to restore from nothing", []fact{secretLost(facts.Server)}, step(plan.RestoreAuthority{Domain: facts.Server, Generation: 1}), "KeptAuthority"},
		{"to restore what cannot be read", []fact{authorityProblem(facts.Server, reason.AuthorityUnreadable), authorityStored(facts.Server, facts.Store{Present: true}, facts.Store{})},
			step(plan.RestoreAuthority{Domain: facts.Server, Generation: 1, Copy: true}), "KeptAuthority"},
		{"to restore what was dropped", []fact{nextGeneration(facts.Server), dropped(facts.Server, 2)}, step(plan.RestoreAuthority{Domain: facts.Server, Generation: 2}), "KeptAuthority"},
		{"to restore another generation", nil, step(plan.RestoreAuthority{Domain: facts.Server, Generation: 2}), "KeptAuthority"},

		{"a look at another pod", []fact{unreachable("db-1-0")}, step(plan.Prove{Party: "db-0", Pod: "db-0-0"}), ""},
		{"to publish for another party", []fact{unreachable("db-1-0")}, step(plan.Publish{Party: "db-0", Reissue: facts.Domains(), Active: plan.PerDomain[int]{Server: 1, Client: 1}}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := given(c.given...)
			o := w.observe()
			violation := invariant.Check(&o, c.step(w))
			switch {
			case violation == nil && c.broken != "":
				t.Errorf("%s does not see it", c.broken)
			case violation != nil && violation.Invariant != c.broken:
				t.Errorf("refused by %v, want %q", violation, c.broken)
			}
		})
	}
}

func TestViolationIsAnErrorWithItsName(t *testing.T) {
	o := given(published("db-2"), unproven("db-1-0")).observe()
	var err error = invariant.Check(&o, plan.Activate{Party: "db-2", Pod: "db-2-0"})
	for _, want := range []string{"UnknownIsNo: ", "db-2-0", "db-1-0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
