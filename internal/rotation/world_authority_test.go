package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// The authorities of the simulated cluster: what is stored of them, and what the operator does with them.

// storedAuthority is what the API server holds of one domain; nil Secrets are the zero Store.
type storedAuthority struct {
	generation               int
	created                  time.Time
	facts                    pki.CertificateFacts
	original, copy           Store
	problem                  Reason
	forward, backward, older Bridge
	marks                    Marks
}

// generations of a domain, oldest first.
func (w *world) generations(domain Domain) (all []*storedAuthority) {
	if a := w.authorities[domain]; a != nil {
		all = append(all, a)
	}
	return append(all, w.newer[domain]...)
}

func (w *world) generation(domain Domain, n int) *storedAuthority {
	for _, a := range w.generations(domain) {
		if a.generation == n {
			return a
		}
	}
	return nil
}

// trusted are the generations of a domain that were not dropped.
func (w *world) trusted(domain Domain) (trusted []*storedAuthority) {
	all := w.generations(domain)
	for _, a := range all {
		if !slices.ContainsFunc(all, func(b *storedAuthority) bool { return slices.Contains(b.marks.Retired, a.generation) }) {
			trusted = append(trusted, a)
		}
	}
	return trusted
}

// find returns the generation of a key.
func (w *world) find(domain Domain, keyID string) *storedAuthority {
	for _, a := range w.generations(domain) {
		if a.facts.KeyID == keyID {
			return a
		}
	}
	return nil
}

// signing is who signs: the newest that was switched to and not withdrawn, or the oldest.
func (w *world) signing(domain Domain) *storedAuthority {
	if w.plan != nil {
		return w.generation(domain, w.plan.Signer(domain))
	}
	trusted := w.trusted(domain)
	for _, a := range slices.Backward(trusted) {
		back := slices.ContainsFunc(trusted, func(b *storedAuthority) bool {
			return b.generation < a.generation && a.generation <= b.marks.RolledBack
		})
		if !a.marks.SwitchedAt.IsZero() && !back && a.problem == "" {
			return a
		}
	}
	for _, a := range trusted { // an expired one leaves it to the next
		if w.now.Before(a.facts.NotAfter) {
			return a
		}
	}
	if len(trusted) == 0 {
		return nil
	}
	return trusted[0]
}

// anchors are the fingerprints of what is to be trusted, sorted.
func (w *world) anchors(domain Domain) (anchors []string) {
	if w.plan != nil {
		return w.plan.Anchors(domain)
	}
	for _, a := range w.trusted(domain) {
		anchors = append(anchors, a.facts.Fingerprint)
	}
	for _, a := range w.record {
		if a.Domain == domain {
			anchors = append(anchors, a.Fingerprint)
		}
	}
	slices.Sort(anchors)
	return anchors
}

// chainOf are the bridges behind a leaf that a generation issued.
func (w *world) chainOf(domain Domain, issuerKeyID string) (chain []string) {
	if w.plan != nil {
		return w.plan.Chain(domain, issuerKeyID)
	}
	for _, a := range w.trusted(domain) {
		if a.facts.KeyID != issuerKeyID {
			continue
		}
		shown := func(b Bridge, old int) bool {
			return b.Fingerprint != "" && w.policy.Rekey[domain].Tainted != old && w.now.Before(b.until())
		}
		after := w.generation(domain, a.generation+1)
		switch {
		case shown(a.forward, a.generation-1):
			chain = append(chain, a.forward.Fingerprint)
			if shown(a.older, a.generation-2) {
				chain = append(chain, a.older.Fingerprint)
			}
		case after != nil && slices.Contains(w.trusted(domain), after) && shown(after.backward, a.generation):
			chain = append(chain, after.backward.Fingerprint)
		}
	}
	return chain
}

// named reports whether an authority is in the operator's bundle, or a leaf of it in use.
func (w *world) named(domain Domain, a *storedAuthority) bool {
	return slices.ContainsFunc(w.members, func(m *member) bool {
		leaf := m.leaf(domain)
		return m.kind == Operator && slices.Contains(m.secret.Anchors.Of(domain), a.facts.Fingerprint) || leaf != nil && leaf.IssuerKeyID == a.facts.KeyID
	})
}

// highestNamed is the highest generation that a bundle names; a Secret whose bundle cannot be read names the first.
func highestNamed(anchors []string) int {
	highest := 1
	for _, anchor := range anchors {
		if _, digits, found := strings.Cut(anchor, "-g"); found {
			n := 0
			fmt.Sscan(digits, &n)
			highest = max(highest, n)
		}
	}
	return highest
}

func (w *world) storeAuthority(s Step) error {
	a := w.generation(s.Domain, s.Generation)
	switch {
	case s.Op == CreateAuthority:
		if w.authorities[s.Domain] != nil {
			return fmt.Errorf("the authority exists")
		}
		w.createAuthority(s.Domain, s.Generation)
	case s.Op == CopyAuthority && a.original.Present && !a.copy.Present:
		a.copy = Store{Present: true}
	case s.Op == RestoreAuthority && a.copy.Present && !a.original.Present:
		a.original = Store{Present: true}
	case s.Op == ReleaseAuthority && s.Copy:
		a.copy = Store{}
	case s.Op == ReleaseAuthority && a.original.Deleting:
		a.original = Store{}
	default:
		return fmt.Errorf("precondition of %s failed", s)
	}
	return nil
}

func (w *world) createAuthority(domain Domain, generation int) {
	w.authorities[domain] = w.newAuthority(domain, generation)
}

func (w *world) newAuthority(domain Domain, generation int) *storedAuthority {
	name := fmt.Sprintf("%s-g%d", domain, generation)
	wishes := w.policy.Rekey[domain]
	return &storedAuthority{generation: generation, original: Store{Present: true}, facts: pki.CertificateFacts{
		Subject: "CN=" + name, KeyID: name + "-key", IssuerKeyID: name + "-key", Fingerprint: name, IsCA: true, Algorithm: w.policy.Authorities[domain].Algorithm,
		NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(w.policy.Authorities[domain].Life)},
		marks: Marks{Answered: wishes.Request, RollbackSeen: wishes.Rollback}}
}

// rekey carries out what changes who is trusted or who signs, with the preconditions that the real writes have.
func (w *world) rekey(s Step) error {
	a, signer := w.generation(s.Domain, s.Generation), w.generation(s.Domain, s.Signer)
	if s.Op == TrustNew && a != nil && !a.original.Present && !a.copy.Present && !w.held(s.Domain, a) {
		w.forget(s.Domain, a) // its Secret was lost before anybody heard of it
		a = nil
	}
	switch {
	case s.Op == TrustNew && a == nil:
		a = w.newAuthority(s.Domain, s.Generation)
		if old := w.signing(s.Domain); s.Bridged {
			a.forward = bridgeBetween(a, old, old.facts.NotAfter)
			a.backward = bridgeBetween(old, a, w.now.Add(day))
			a.older = old.forward
		}
		w.newer[s.Domain] = append(w.newer[s.Domain], a)
	case s.Op == SwitchSigner && a != nil:
		a.marks.SwitchedAt = w.now
	case s.Op == RollBack && a != nil && signer != nil:
		signer.marks.RolledBack, signer.marks.Answered = a.generation, a.marks.Answered
		signer.marks.RollbackSeen = w.policy.Rekey[s.Domain].Rollback
	case s.Op == DropOld && signer != nil:
		signer.marks.Retired = append(slices.Clone(signer.marks.Retired), s.Generation)
	case s.Op == DiscardAuthority && a != nil:
		w.forget(s.Domain, a)
	default:
		return fmt.Errorf("precondition of %s failed", s)
	}
	return nil
}

func bridgeBetween(subject, by *storedAuthority, until time.Time) Bridge {
	from := subject.facts.NotBefore
	if by.facts.NotBefore.After(from) {
		from = by.facts.NotBefore
	}
	return Bridge{
		Fingerprint: subject.facts.Fingerprint + "-by-" + by.facts.Fingerprint,
		KeyID:       subject.facts.KeyID, IssuerKeyID: by.facts.KeyID, NotBefore: from, NotAfter: until,
	}
}

// held reports whether some Secret or process holds an authority.
func (w *world) held(domain Domain, a *storedAuthority) bool {
	return slices.ContainsFunc(w.members, func(m *member) bool {
		return slices.Contains(m.secret.Anchors.Of(domain), a.facts.Fingerprint) || slices.ContainsFunc(m.pods, func(c *container) bool {
			return slices.Contains(c.loaded.Of(domain), a.facts.Fingerprint) || slices.Contains(c.active.Anchors.Of(domain), a.facts.Fingerprint)
		})
	})
}

// forget drops an authority from what is stored.
func (w *world) forget(domain Domain, a *storedAuthority) {
	rest := slices.DeleteFunc(w.generations(domain), func(b *storedAuthority) bool { return b == a })
	w.authorities[domain], w.newer[domain] = rest[0], rest[1:]
}
