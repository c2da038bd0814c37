package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// Certificates from elsewhere in the simulated cluster: what their sources hold, what is noted of their anchors, which parties present
// what. An issuer is its own anchor, so that a fingerprint such as "acme" is all that there is to know of it.

// slot is a place for a custom certificate: what the processes of one kind present in a domain.
type slot struct {
	kind   *facts.Kind
	domain facts.Domain
}

// source is what the user's Secret for a slot holds.
type source struct {
	custom  facts.Custom
	refused bool // it holds something that cannot be used: what is published goes on being wanted
}

const customLife = 60 * day

// anchorEnd is when every authority from elsewhere ends, unless a test says so.
var anchorEnd = dawn.Add(3650 * day)

// newCustom is a certificate that an issuer makes now.
func (w *world) newCustom(domain facts.Domain, issuer string) facts.Custom {
	w.serial++
	return facts.Custom{
		Domain: domain, Fingerprint: fmt.Sprintf("custom-%d", w.serial), Content: fmt.Sprintf("content-%d", w.serial),
		IssuerKeyID: issuer + "-key", Anchors: []string{issuer}, NotBefore: w.now.Add(-backdate), NotAfter: w.now.Add(customLife),
	}
}

// wanted is what the members of a kind are to present in a domain; nil: their own leaves.
func (w *world) wanted(s slot) *facts.Custom {
	from := w.sources[s]
	switch {
	case from == nil:
		return nil
	case !from.refused && w.now.Before(from.custom.NotAfter):
		return &from.custom
	}
	return w.lastGood(s)
}

// lastGood is the newest that some member of a kind presents.
func (w *world) lastGood(s slot) (last *facts.Custom) {
	for _, m := range w.members {
		for i := range m.secret.Customs {
			c := &m.secret.Customs[i]
			good := m.kind == s.kind && c.Domain == s.domain && c.Problem == "" && w.now.Before(c.NotAfter)
			if good && (last == nil || c.NotBefore.After(last.NotBefore)) {
				last = c
			}
		}
	}
	return last
}

func (w *world) wantedBy(m *member) (customs []facts.Custom) {
	for _, domain := range facts.Domains() {
		if c := w.wanted(slot{m.kind, domain}); c != nil {
			customs = append(customs, *c)
		}
	}
	return cloneCustoms(customs)
}

func cloneCustoms(customs []facts.Custom) []facts.Custom {
	customs = slices.Clone(customs)
	for i := range customs {
		customs[i].Anchors = slices.Clone(customs[i].Anchors)
	}
	return customs
}

// foreign are the anchors from elsewhere that are wanted or noted, sorted.
func (w *world) external() []facts.Anchor {
	all := slices.Clone(w.record)
	want := func(domain facts.Domain, fingerprint string) {
		for i := range all {
			if all[i].Domain == domain && all[i].Fingerprint == fingerprint {
				all[i].Wanted = true
				return
			}
		}
		all = append(all, facts.Anchor{Domain: domain, Fingerprint: fingerprint, Subject: "CN=" + fingerprint, NotAfter: anchorEnd, Wanted: true})
	}
	for s := range w.sources {
		if c := w.wanted(s); c != nil {
			for _, a := range c.Anchors {
				want(s.domain, a)
			}
		}
	}
	for _, a := range w.besides {
		want(facts.Client, a)
	}
	slices.SortFunc(all, func(a, b facts.Anchor) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all
}

// note writes the record of anchors, as it was observed.
func (w *world) note(about plan.AnchorStep, s plan.Step) error {
	for _, a := range w.external() {
		if a.Domain != about.Domain || a.Fingerprint != about.Anchor {
			continue
		}
		switch s.(type) {
		case plan.AdmitAnchor:
			if !a.Admitted {
				a.AdmittedAt = w.now
			}
			a.Admitted, a.UnusedSince = true, time.Time{}
		case plan.NoteUnused:
			a.UnusedSince = w.now
		default:
			a.Admitted = false
		}
		a.Wanted = false // is never noted
		w.record = slices.DeleteFunc(w.record, func(b facts.Anchor) bool { return b.Domain == a.Domain && b.Fingerprint == a.Fingerprint })
		if a.Admitted {
			w.record = append(w.record, a)
		}
		return nil
	}
	return fmt.Errorf("precondition of %s failed", s)
}

// customsAfter is what a member's process presents in place of its own leaves after a step.
func (w *world) customsAfter(m *member, s plan.Publish) (customs []facts.Custom, err error) {
	for _, domain := range facts.Domains() {
		want := w.wanted(slot{m.kind, domain})
		switch have := customOf(m.secret.Customs, domain); {
		case slices.Contains(s.Adopt, domain) && want == nil:
			return nil, fmt.Errorf("the custom %s certificate of %s is not at hand", domain, m.name)
		case slices.Contains(s.Adopt, domain):
			adopted := *want
			adopted.Immediate, adopted.Unapproved = false, false
			customs = append(customs, adopted)
		case have != nil && !slices.Contains(s.Own, domain):
			customs = append(customs, *have)
		}
	}
	return cloneCustoms(customs), nil
}

// customOf finds a custom certificate without the code under test.
func customOf(customs []facts.Custom, domain facts.Domain) *facts.Custom {
	for i := range customs {
		if customs[i].Domain == domain {
			return &customs[i]
		}
	}
	return nil
}

// toServe is the fingerprint of what is to be served with some material: by the process, or by the agent and Patroni.
func toServe(m *facts.Material, process bool) string {
	for _, c := range m.Customs {
		if process && c.Domain == facts.Server {
			return c.Fingerprint
		}
	}
	if l := leafOf(m, facts.Server); l != nil {
		return l.Fingerprint
	}
	return ""
}

// --- facts -------------------------------------------------------------------

// brings puts a new certificate of an issuer into a source.
func brings(kind *facts.Kind, domain facts.Domain, issuer string) fact {
	return func(w *world) { w.sources[slot{kind, domain}] = &source{custom: w.newCustom(domain, issuer)} }
}

// takesAway is a spec that names no source any more.
func takesAway(kind *facts.Kind, domain facts.Domain) fact {
	return func(w *world) { delete(w.sources, slot{kind, domain}) }
}

// spoils puts something that cannot be used into a source.
func spoils(kind *facts.Kind, domain facts.Domain) fact {
	return func(w *world) { w.sources[slot{kind, domain}].refused = true }
}

// wanting changes what is in a source.
func wanting(kind *facts.Kind, domain facts.Domain, change func(*facts.Custom)) fact {
	return func(w *world) { change(&w.sources[slot{kind, domain}].custom) }
}

func immediately(c *facts.Custom) { c.Immediate = true }
func unapproved(c *facts.Custom)  { c.Unapproved = true }
func crossSigned(c *facts.Custom) { c.Anchors = append(c.Anchors, "bank") }
func lasting(life time.Duration) func(*facts.Custom) {
	return func(c *facts.Custom) { c.NotAfter = c.NotBefore.Add(life) }
}

// admitted is an anchor that is noted as trusted, since now.
func admitted(domain facts.Domain, anchor string) fact {
	return func(w *world) {
		w.record = append(w.record, facts.Anchor{Domain: domain, Fingerprint: anchor, Subject: "CN=" + anchor, NotAfter: anchorEnd, Admitted: true, AdmittedAt: w.now})
	}
}

func ofAnchor(anchor string, change func(*facts.Anchor)) fact {
	return func(w *world) {
		for i := range w.record {
			if w.record[i].Fingerprint == anchor {
				change(&w.record[i])
			}
		}
	}
}

// trusting is an anchor that is noted, and that everybody has loaded.
func trusting(domain facts.Domain, anchor string) fact {
	return func(w *world) { admitted(domain, anchor)(w); trustedEverywhere(w) }
}

// presenting is a custom certificate that all of a kind present and everybody trusts.
func presenting(kind *facts.Kind, domain facts.Domain, issuer string) fact {
	return func(w *world) {
		brings(kind, domain, issuer)(w)
		admitted(domain, issuer)(w)
		for _, m := range w.members {
			if m.kind == kind {
				adopted(m.name, domain)(w)
			}
		}
		trustedEverywhere(w)
	}
}

// adopted is a party whose material presents what is wanted, and no pod was asked to use it.
func adopted(party string, domain facts.Domain) fact {
	return func(w *world) {
		w.publishAs(w.member(party), plan.Publish{Adopt: []facts.Domain{domain}})
	}
}

// besides is an anchor that is wanted although nothing presents what it issued.
func besides(anchor string) fact { return func(w *world) { w.besides = append(w.besides, anchor) } }

// customGarbled damages what a party presents.
func customGarbled(party string) fact {
	return damaged(party, func(m *facts.Material) { m.Customs[0].Problem = string(pki.CertificateMalformed) })
}

// presentedEndsIn makes what everybody presents of a slot end a while from now; there is no newer one.
func presentedEndsIn(kind *facts.Kind, domain facts.Domain, rest time.Duration) fact {
	return func(w *world) {
		source := &w.sources[slot{kind, domain}].custom
		by := w.now.Add(rest).Sub(source.NotAfter)
		source.NotBefore, source.NotAfter = source.NotBefore.Add(by), source.NotAfter.Add(by)
		shift := func(customs []facts.Custom) {
			for i := range customs {
				if customs[i].Domain == domain {
					customs[i].NotBefore, customs[i].NotAfter = customs[i].NotBefore.Add(by), customs[i].NotAfter.Add(by)
				}
			}
		}
		for _, m := range w.members {
			if m.kind != kind {
				continue
			}
			shift(m.secret.Customs)
			for _, c := range m.pods {
				shift(c.active.Customs)
				shift(c.customs)
			}
		}
	}
}

func trustPropagationDelay(d time.Duration) fact {
	return func(w *world) { w.policy.TrustPropagationDelay = d }
}

func anchorApproved(name string) fact {
	return func(w *world) { w.policy.ApprovedAnchors = append(w.policy.ApprovedAnchors, name) }
}

func foreignSession(pod, issuer string) fact {
	return func(w *world) {
		_, c := w.pod(pod)
		c.sessions = append(c.sessions, facts.Session{Issuer: "CN=" + issuer, User: "ann", Address: "10.0.0.9"})
	}
}
