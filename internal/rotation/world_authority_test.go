package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// The authorities of the simulated cluster: what is stored of them, and what the operator does with them.

// storedAuthority is what the API server holds of one domain; nil Secrets are the zero Store.
type storedAuthority struct {
	generation               int
	created                  time.Time
	certificate              pki.CertificateFacts
	original, copy           facts.Store
	remembered               bool // by the operator that runs
	problem                  reason.Code
	forward, backward, older facts.Bridge
	marks                    facts.Marks
}

// generations of a domain, oldest first.
func (w *world) generations(domain facts.Domain) (all []*storedAuthority) {
	if a := w.authorities[domain]; a != nil {
		all = append(all, a)
	}
	return append(all, w.newer[domain]...)
}

func (w *world) generation(domain facts.Domain, n int) *storedAuthority {
	for _, a := range w.generations(domain) {
		if a.generation == n {
			return a
		}
	}
	return nil
}

// trusted are the generations of a domain that were not dropped.
func (w *world) trusted(domain facts.Domain) (trusted []*storedAuthority) {
	all := w.generations(domain)
	for _, a := range all {
		if !slices.ContainsFunc(all, func(b *storedAuthority) bool { return slices.Contains(b.marks.Retired, a.generation) }) {
			trusted = append(trusted, a)
		}
	}
	return trusted
}

// find returns the generation of a key.
func (w *world) find(domain facts.Domain, keyID string) *storedAuthority {
	for _, a := range w.generations(domain) {
		if a.certificate.KeyID == keyID {
			return a
		}
	}
	return nil
}

// signing is the active authority: the newest that was switched to and not rolled back, or the oldest.
func (w *world) signing(domain facts.Domain) *storedAuthority {
	trusted := w.trusted(domain)
	for _, a := range slices.Backward(trusted) {
		back := a.marks.RollbackReason != "" && a != trusted[0]
		if !a.marks.SwitchedAt.IsZero() && !back && a.problem == "" {
			return a
		}
	}
	for _, a := range trusted { // an expired one leaves it to the next
		if w.now.Before(a.certificate.NotAfter) {
			return a
		}
	}
	if len(trusted) == 0 {
		return nil
	}
	return trusted[0]
}

// anchors are the fingerprints of what is to be trusted, sorted.
func (w *world) anchors(domain facts.Domain) (anchors []string) {
	for _, a := range w.trusted(domain) {
		anchors = append(anchors, a.certificate.Fingerprint)
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
func (w *world) chainOf(domain facts.Domain, issuerKeyID string) (chain []string) {
	for _, a := range w.trusted(domain) {
		if a.certificate.KeyID != issuerKeyID {
			continue
		}
		shown := func(b facts.Bridge, old int) bool {
			return b.Fingerprint != "" && w.policy.Rekey[domain].Tainted != old && w.now.Before(b.Until())
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
func (w *world) named(domain facts.Domain, a *storedAuthority) bool {
	return slices.ContainsFunc(w.members, func(m *member) bool {
		leaf := m.leaf(domain)
		return m.kind == party.Operator && slices.Contains(m.secret.Anchors.Of(domain), a.certificate.Fingerprint) || leaf != nil && leaf.IssuerKeyID == a.certificate.KeyID
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

// stored reports whether a Secret of an authority is there.
func (a *storedAuthority) stored() bool { return a.original.Present || a.copy.Present }

// storeAuthority makes a first generation, or one of the two Secrets of another from what there is of it.
func (w *world) storeAuthority(s plan.Step) error {
	switch s := s.(type) {
	case plan.CreateAuthority:
		if w.authorities[s.Domain] != nil {
			return fmt.Errorf("the authority exists")
		}
		w.createAuthority(s.Domain, s.Generation)
		w.authorities[s.Domain].copy = facts.Store{} // that is another step
	case plan.RestoreAuthority:
		a := w.generation(s.Domain, s.Generation)
		if a == nil || !a.stored() && !a.remembered {
			return fmt.Errorf("precondition of %s failed", s)
		}
		at := &a.original
		if s.Copy {
			at = &a.copy
		}
		if at.Present {
			return fmt.Errorf("%s overwrites a Secret", s)
		}
		*at = facts.Store{Present: true}
	}
	return nil
}

func (w *world) createAuthority(domain facts.Domain, generation int) {
	w.authorities[domain] = w.newAuthority(domain, generation)
	w.authorities[domain].copy = facts.Store{Present: true}
}

func (w *world) newAuthority(domain facts.Domain, generation int) *storedAuthority {
	name := fmt.Sprintf("%s-g%d", domain, generation)
	wishes := w.policy.Rekey[domain]
	return &storedAuthority{generation: generation, original: facts.Store{Present: true}, remembered: true, certificate: pki.CertificateFacts{
		Subject: "CN=" + name, KeyID: name + "-key", IssuerKeyID: name + "-key", Fingerprint: name, IsCA: true, Algorithm: w.policy.Authorities[domain].Algorithm,
		NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(w.policy.Authorities[domain].Life)},
		marks: facts.Marks{Answered: wishes.Request, RollbackSeen: wishes.Rollback}}
}

// rekey carries out what changes which authorities are trusted or active, with the preconditions that the real writes have.
func (w *world) rekey(s plan.Step) error {
	failed := fmt.Errorf("precondition of %s failed", s)
	switch s := s.(type) {
	case plan.TrustNew:
		return w.trustNew(s)
	case plan.SwitchSigner:
		a := w.generation(s.Domain, s.Generation)
		if a == nil || !a.stored() {
			return failed
		}
		a.marks.SwitchedAt = w.now
	case plan.RollBack:
		a := w.generation(s.Domain, s.Generation)
		if a == nil || !a.stored() {
			return failed
		}
		a.marks.RollbackReason, a.marks.RollbackSeen = s.Reason, w.policy.Rekey[s.Domain].Rollback
	case plan.DropOld:
		return w.dropOld(s)
	case plan.DiscardAuthority:
		a := w.generation(s.Domain, s.Generation)
		if a == nil {
			return failed
		}
		w.forget(s.Domain, a)
	}
	return nil
}

// trustNew makes the next generation. What was lost before any bundle held it gives its number away.
func (w *world) trustNew(s plan.TrustNew) error {
	a := w.generation(s.Domain, s.Generation)
	if a != nil && !a.stored() && !w.isHeld(s.Domain, a) {
		w.forget(s.Domain, a)
		a = nil
	}
	if a != nil {
		return fmt.Errorf("%s overwrites a Secret", s)
	}
	a = w.newAuthority(s.Domain, s.Generation)
	if old := w.generation(s.Domain, s.Active); s.Bridged {
		a.forward = bridgeBetween(a, old, old.certificate.NotAfter)
		a.backward = bridgeBetween(old, a, w.now.Add(day))
		a.older = old.forward
	}
	w.newer[s.Domain] = append(w.newer[s.Domain], a)
	return nil
}

// dropOld notes on the active authority that another one is dropped, and what is to be remembered of one that was rolled back.
func (w *world) dropOld(s plan.DropOld) error {
	active, old := w.generation(s.Domain, s.Active), w.generation(s.Domain, s.Generation)
	if active == nil || !active.stored() {
		return fmt.Errorf("precondition of %s failed", s)
	}
	marks := &active.marks
	marks.Retired = append(slices.Clone(marks.Retired), s.Generation)
	if old != nil && old.marks.RollbackReason != "" {
		marks.RolledBack, marks.RolledBackBy = s.Generation, old.marks.RollbackReason
		marks.Answered, marks.RollbackSeen = old.marks.Answered, old.marks.RollbackSeen
	}
	return nil
}

func bridgeBetween(subject, by *storedAuthority, until time.Time) facts.Bridge {
	from := subject.certificate.NotBefore
	if by.certificate.NotBefore.After(from) {
		from = by.certificate.NotBefore
	}
	return facts.Bridge{
		Fingerprint: subject.certificate.Fingerprint + "-by-" + by.certificate.Fingerprint,
		KeyID:       subject.certificate.KeyID, IssuerKeyID: by.certificate.KeyID, NotBefore: from, NotAfter: until,
	}
}

// held reports whether some Secret or process holds an authority.
func (w *world) isHeld(domain facts.Domain, a *storedAuthority) bool {
	return slices.ContainsFunc(w.members, func(m *member) bool {
		return slices.Contains(m.secret.Anchors.Of(domain), a.certificate.Fingerprint) || slices.ContainsFunc(m.pods, func(c *container) bool {
			return slices.Contains(c.loaded.Of(domain), a.certificate.Fingerprint) || slices.Contains(c.active.Anchors.Of(domain), a.certificate.Fingerprint)
		})
	})
}

// forget drops an authority from what is stored.
func (w *world) forget(domain facts.Domain, a *storedAuthority) {
	rest := slices.DeleteFunc(w.generations(domain), func(b *storedAuthority) bool { return b == a })
	w.authorities[domain], w.newer[domain] = rest[0], rest[1:]
}
