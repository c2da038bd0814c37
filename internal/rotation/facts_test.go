package rotation

import (
	"slices"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// A fact is one thing that is so in a world. Tests are sentences of them:
//
//	given(secretGone("db-1"), refusing("db-2-0"))
type fact func(*world)

// given is the settled world with facts on top.
func given(premises ...fact) *world {
	w := settledWorld()
	for _, f := range premises {
		f(w)
	}
	return w
}

// --- of material ------------------------------------------------------------

// renewalOf is when a party's leaf becomes due, from pki and not from Next.
func (w *world) renewalOf(party string, domain facts.Domain) time.Time {
	m := w.member(party)
	l := m.leaf(domain)
	for _, want := range m.wants {
		if want.Domain == domain {
			return pki.RenewalTime(l.NotBefore, l.NotAfter, want.RenewBefore, party+"/"+string(domain))
		}
	}
	panic("no " + string(domain) + " leaf is wanted for " + party)
}

// due makes a party's leaf older, so that its renewal time is exactly now.
func due(party string, domain facts.Domain) fact {
	return func(w *world) { shift(w, party, domain, w.now.Sub(w.renewalOf(party, domain))) }
}

// almostDue leaves a second.
func almostDue(party string, domain facts.Domain) fact {
	return func(w *world) { shift(w, party, domain, w.now.Sub(w.renewalOf(party, domain))+time.Second) }
}

// urgent makes a party's client leaf so old that half of its window is over, for its Secret and its pods.
func urgent(party string) fact { return endsIn(party, facts.Client, clientWindow/2) }

// endsIn makes a leaf end a while from now.
func endsIn(party string, domain facts.Domain, rest time.Duration) fact {
	return func(w *world) {
		shift(w, party, domain, w.now.Add(rest).Sub(w.member(party).leaf(domain).NotAfter))
	}
}

// shift moves the validity of a leaf, wherever its bytes are.
func shift(w *world, party string, domain facts.Domain, by time.Duration) {
	m := w.member(party)
	copies := []*facts.Leaf{m.leaf(domain)}
	for _, c := range m.pods {
		copies = append(copies, leafOf(&c.active, domain))
	}
	for _, l := range copies {
		if l == nil {
			continue // a pod that has not started
		}
		l.NotBefore, l.NotAfter = l.NotBefore.Add(by), l.NotAfter.Add(by)
	}
}

// everythingDue makes the client leaf of every party due.
func everythingDue(w *world) {
	for _, m := range w.members {
		due(m.name, facts.Client)(w)
	}
}

func secretGone(party string) fact {
	return func(w *world) { w.member(party).secret = facts.Material{State: facts.Missing} }
}

// blanked is a Secret with keys and no content.
func blanked(party string) fact {
	return damaged(party, func(m *facts.Material) {
		m.Anchors = facts.Bundles{}
		for i := range m.Leaves {
			m.Leaves[i] = facts.Leaf{Domain: m.Leaves[i].Domain, Problem: string(pki.NoCertificate)}
		}
	})
}

func garbled(party string, domain facts.Domain) fact {
	return damaged(party, func(m *facts.Material) { leafOf(m, domain).Problem = string(pki.CertificateMalformed) })
}

func keySwapped(party string, domain facts.Domain) fact {
	return damaged(party, func(m *facts.Material) { leafOf(m, domain).Problem = string(pki.KeyMismatch) })
}

// leafOfStranger is a sound leaf, but not of our authority.
func leafOfStranger(party string, domain facts.Domain) fact {
	return damaged(party, func(m *facts.Material) {
		l := leafOf(m, domain)
		l.IssuerKeyID, l.Fingerprint = "stranger-key", "stranger-leaf"
	})
}

func withoutLeaf(party string, domain facts.Domain) fact {
	return damaged(party, func(m *facts.Material) {
		m.Leaves = slices.DeleteFunc(m.Leaves, func(l facts.Leaf) bool { return l.Domain == domain })
	})
}

func altered(party string) fact { return damaged(party, func(m *facts.Material) { m.Altered = true }) }

func bundleGone(party string, domain facts.Domain) fact {
	return damaged(party, func(m *facts.Material) { m.Anchors.Set(domain, nil) })
}

func bundleReplaced(party string, domain facts.Domain, anchors ...string) fact {
	return damaged(party, func(m *facts.Material) { m.Anchors.Set(domain, append([]string{}, anchors...)) }) // none is not unknown
}

// damaged is an edit of a Secret by hand.
func damaged(party string, edit func(*facts.Material)) fact {
	return func(w *world) {
		m := &w.member(party).secret
		if m.State != facts.Present {
			return
		}
		*m = cloneMaterial(*m)
		edit(m)
		m.Revision = revisionOf(m)
	}
}

func foreignSecret(party string) fact {
	return func(w *world) { w.member(party).secret = facts.Material{State: facts.Foreign} }
}

func unreadableSecret(party string) fact {
	return func(w *world) { w.member(party).secret = facts.Material{State: facts.Unknown} }
}

// published is new material that no pod was asked to use yet.
func published(party string) fact {
	return func(w *world) { m := w.member(party); w.publish(m, facts.Domains()) }
}

// --- of wishes --------------------------------------------------------------

func wantsName(party, name string) fact {
	return func(w *world) {
		want := &w.member(party).wants[0]
		want.DNSNames = append(slices.Clone(want.DNSNames), name)
		slices.Sort(want.DNSNames)
	}
}

func wantsAddress(party, address string) fact {
	return func(w *world) { w.member(party).wants[0].IPs = []string{address} }
}

func wantsFewerNames(party string) fact {
	return func(w *world) { w.member(party).wants[0].DNSNames = []string{party} }
}

func wantsAlgorithm(party string, domain facts.Domain, a pki.Algorithm) fact {
	return func(w *world) {
		wants := w.member(party).wants
		for i := range wants {
			if wants[i].Domain == domain {
				wants[i].Algorithm = a
			}
		}
	}
}

func renewRequested(value string) fact { return func(w *world) { w.policy.RenewRequest = value } }

// --- of pods ----------------------------------------------------------------

func of(pod string, change func(*container)) fact {
	return func(w *world) { _, c := w.pod(pod); change(c) }
}

func asked(pod string) fact {
	return func(w *world) { m, c := w.pod(pod); c.asked = m.secret.Revision }
}

// activated is a pod whose agent has done it and that is not proven yet.
func activated(pod string) fact {
	return func(w *world) { m, c := w.pod(pod); c.install(m.secret, m.secret.Revision) }
}

// selfActivated is a pod whose agent went ahead without being asked.
func selfActivated(pod string) fact {
	return func(w *world) { m, c := w.pod(pod); c.install(m.secret, c.asked) }
}

func proven(pod string) fact {
	return func(w *world) { m, c := w.pod(pod); w.handshake(m, c) }
}

func unproven(pod string) fact    { return of(pod, func(c *container) { c.proofs = nil }) }
func unreachable(pod string) fact { return of(pod, func(c *container) { c.unreachable = true }) }
func refusing(pod string) fact    { return of(pod, func(c *container) { c.refuses = true }) }
func slow(pod string) fact        { return of(pod, func(c *container) { c.slow = true }) }
func deaf(pod string) fact        { return of(pod, func(c *container) { c.deaf = true }) }
func notStarted(pod string) fact  { return of(pod, (*container).restart) }

func servesOld(pod string) fact {
	return of(pod, func(c *container) {
		for i := range c.proofs {
			c.proofs[i].Fingerprint = "older leaf"
		}
	})
}

func portSilent(pod, port string) fact {
	return of(pod, func(c *container) {
		for i := range c.proofs {
			if c.proofs[i].Port == port {
				c.proofs[i].Fingerprint, c.proofs[i].Problem = "", "connection refused"
			}
		}
	})
}

// --- of authorities and clients' trust --------------------------------------

func ofAuthority(domain facts.Domain, change func(*storedAuthority)) fact {
	return func(w *world) { change(w.authorities[domain]) }
}

func noAuthority(domain facts.Domain) fact {
	return func(w *world) { delete(w.authorities, domain) }
}

func authorityStored(domain facts.Domain, original, twin facts.Store) fact {
	return ofAuthority(domain, func(a *storedAuthority) { a.original, a.copy = original, twin })
}

func authorityProblem(domain facts.Domain, why reason.Code) fact {
	return ofAuthority(domain, func(a *storedAuthority) { a.problem = why })
}

func authorityEndsIn(domain facts.Domain, rest time.Duration) fact {
	return func(w *world) { w.authorities[domain].certificate.NotAfter = w.now.Add(rest) }
}

// nextGeneration makes the second generation of a domain, with bridges, and publishes nothing.
func nextGeneration(domain facts.Domain) fact {
	return func(w *world) {
		if err := w.rekey(plan.TrustNew{Domain: domain, Generation: 2, Bridged: true, Active: 1}); err != nil {
			panic(err)
		}
		w.generation(domain, 2).copy = facts.Store{Present: true}
	}
}

// withoutBridges forgets the bridges of the second generation.
func withoutBridges(domain facts.Domain) fact {
	return func(w *world) {
		a := w.generation(domain, 2)
		a.forward, a.backward, a.older = facts.Bridge{}, facts.Bridge{}, facts.Bridge{}
	}
}

func switched(domain facts.Domain, generation int) fact {
	return func(w *world) { w.generation(domain, generation).marks.SwitchedAt = w.now }
}

// trustedEverywhere publishes all bundles and has every pod use them.
func trustedEverywhere(w *world) {
	w.trust = facts.Trust{State: facts.Present, Anchors: w.anchors(facts.Server)}
	for _, m := range w.members {
		w.publish(m, nil)
		for _, c := range m.pods {
			c.install(m.secret, m.secret.Revision)
			w.handshake(m, c)
		}
	}
}

// bundleLoaded makes a pod's processes hold other anchors than its material.
func bundleLoaded(pod string, domain facts.Domain, anchors ...string) fact {
	return func(w *world) {
		_, c := w.pod(pod)
		c.loaded.Set(domain, anchors)
	}
}

// rekeyRequested asks for a new authority.
func rekeyRequested(domain facts.Domain, id string) fact {
	return wish(domain, func(r *facts.RekeyPolicy) { r.Request = id })
}

func rollbackRequested(domain facts.Domain, id string) fact {
	return wish(domain, func(r *facts.RekeyPolicy) { r.Rollback = id })
}

func tainted(domain facts.Domain, generation int) fact {
	return wish(domain, func(r *facts.RekeyPolicy) { r.Tainted = generation })
}

func approved(domain facts.Domain, generation int) fact {
	return wish(domain, func(r *facts.RekeyPolicy) { r.Approved = generation })
}

func wish(domain facts.Domain, change func(*facts.RekeyPolicy)) fact {
	return func(w *world) {
		wishes := w.policy.Rekey[domain]
		change(&wishes)
		w.policy.Rekey[domain] = wishes
	}
}

func soak(d time.Duration) fact { return func(w *world) { w.policy.RetireSoak = d } }

func publicTrust(state facts.MaterialState, anchors ...string) fact {
	return func(w *world) { w.trust = facts.Trust{State: state, Anchors: anchors} }
}

func later(d time.Duration) fact { return func(w *world) { w.now = w.now.Add(d) } }

// --- of plans ---------------------------------------------------------------

// decide is Next for a policy that makes sense.
func decide(t testing.TB, w *world) plan.Plan {
	t.Helper()
	planned, err := Next(w.policy, w.observe())
	if err != nil {
		t.Fatalf("a sensible policy was refused: %v", err)
	}
	return planned
}

// message returns the text of the blocker for a party.
func message(planned plan.Plan, party string) string {
	for _, b := range planned.Blockers {
		if b.Party == party {
			return b.Message
		}
	}
	return ""
}

// --- of whole authorities ----------------------------------------------------

// secretLost deletes both Secrets of the newest generation while no operator runs: nothing has it in memory.
func secretLost(domain facts.Domain) fact {
	return func(w *world) {
		all := w.generations(domain)
		a := all[len(all)-1]
		a.original, a.copy, a.marks, a.remembered = facts.Store{}, facts.Store{}, facts.Marks{}, false
		a.forward, a.backward, a.older = facts.Bridge{}, facts.Bridge{}, facts.Bridge{}
	}
}

// expired is an authority whose time is over, and that of every leaf that it issued.
func expired(domain facts.Domain) fact {
	return func(w *world) {
		authorityEndsIn(domain, 0)(w)
		for _, m := range w.members {
			if m.leaf(domain) != nil {
				endsIn(m.name, domain, 0)(w)
			}
		}
	}
}

func manual(w *world) { w.policy.RetireManual = true }
