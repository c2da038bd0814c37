package rotation

import (
	"fmt"
	"time"
)

// authorities finds each domain's signer, makes a first one where there never was one, keeps a deleted one from getting
// lost, and moves a re-key on.
func (d *decision) authorities() {
	for _, domain := range Domains() {
		if _, managed := d.policy.Authorities[domain]; managed {
			d.lineages = append(d.lineages, d.lineageOf(domain))
		}
	}
	for i := range d.lineages {
		l := &d.lineages[i]
		d.active.set(l.domain, l)
		d.authority(l)
	}
}

func authorityName(domain Domain, generation int) string {
	return fmt.Sprintf("%s ca g%d", domain, generation)
}

func (d *decision) authority(l *lineage) {
	stored := d.keepAll(l)
	switch {
	case l.signer != nil:
		d.wakeAt(l.signer.Certificate.NotAfter)
		d.rekey(l)
	case !stored && l.highest == 0:
		d.write(Step{Op: CreateAuthority, Domain: l.domain, Generation: 1, Reason: ReasonFirstGeneration})
	default:
		d.withoutSigner(l)
	}
}

// withoutSigner says why nothing can be signed, and replaces an authority that never will sign again.
func (d *decision) withoutSigner(l *lineage) {
	broken := d.newest(l.domain)
	if broken == nil || l.lost {
		seen := max(d.observed.GenerationSeen[l.domain], 1)
		d.block(authorityName(l.domain, seen), AuthorityLost, "generation %d of the %s authority is in use and its Secret is gone: "+
			"what is served goes on being served, nothing new is signed; restore the Secret from a backup", seen, l.domain)
		return
	}
	name, c := authorityName(l.domain, broken.Generation), broken.Certificate
	reason := broken.Problem
	switch {
	case broken.Problem != "":
		d.block(name, broken.Problem, "%s", broken.Message)
	case d.observed.Now.Before(c.NotBefore):
		d.block(name, AuthorityNotYetValid, "the %s authority g%d is valid from %s on: a clock is wrong, the operator's now or the one that made it",
			l.domain, broken.Generation, c.NotBefore.Format(time.RFC3339))
		d.wakeAt(c.NotBefore)
		return
	default:
		reason = AuthorityExpired
		d.block(name, AuthorityExpired, "the %s authority g%d expired on %s and can sign nothing any more",
			l.domain, broken.Generation, c.NotAfter.Format(time.RFC3339))
	}
	switch {
	case l.next != nil:
		d.switchSigner(l)
	case len(l.anchors) > 0 && broken.Problem != AuthorityForeign:
		// What is in use stays trusted: its certificate is known. Its leaves are replaced once the new one is trusted too.
		d.turn(Step{Op: TrustNew, Domain: l.domain, Generation: l.highest + 1, Reason: reason, Message: d.breaks(l, broken)})
	}
}

// newest returns the highest generation that was not dropped, in whatever state; nil: none.
func (d *decision) newest(domain Domain) (newest *Authority) {
	for i := range d.observed.Authorities {
		a := &d.observed.Authorities[i]
		if a.Domain == domain && !d.retired(a) && !a.usable(d.observed.Now) && (newest == nil || a.Generation > newest.Generation) {
			newest = a
		}
	}
	return newest
}

// keepAll keeps each generation that is to be trusted, and tells whether anything is stored.
func (d *decision) keepAll(l *lineage) (stored bool) {
	for i := range d.observed.Authorities {
		a := &d.observed.Authorities[i]
		if a.Domain != l.domain {
			continue
		}
		stored = true
		if !d.retired(a) {
			d.keep(a)
		}
	}
	return stored
}

// keep holds on to an authority whose Secret somebody deletes. Each step may be
// the last one before a crash: at every instant one of the two Secrets is stored.
func (d *decision) keep(a *Authority) {
	if a.Problem != "" {
		return // never copy what cannot be read
	}
	s := Step{Domain: a.Domain, Generation: a.Generation, Reason: ReasonBeingDeleted}
	switch original, twin := a.Original, a.Copy; {
	case !original.Present && twin.Present:
		s.Op = RestoreAuthority
	case original.Present && original.Deleting && !twin.Present:
		s.Op = CopyAuthority
	case original.Present && original.Deleting && !twin.Deleting:
		s.Op = ReleaseAuthority
	case original.Present && twin.Present:
		// The original stays, or both are being deleted: then a copy that
		// nobody deletes is made in place of this one, while the original's
		// finalizer holds it.
		s.Op, s.Reason, s.Copy = ReleaseAuthority, ReasonCopyStored, true
	default:
		return
	}
	d.write(s)
}

// writable reports whether a party's material can be written: every leaf that it wants can be signed or be kept while a new
// authority is brought in, and the bundle of a domain without authority is there to be kept.
func (d *decision) writable(p *Party) bool {
	for _, domain := range Domains() {
		l := d.active.of(domain)
		switch {
		case l != nil && l.signer != nil:
		case l != nil && l.next != nil:
			if leaf := p.material(domain); p.wants(domain) && (leaf == nil || leaf.Problem != "") {
				return false
			}
		case p.wants(domain) || p.verifies(domain) && len(p.Material.Anchors.Of(domain)) == 0:
			return false
		}
	}
	return true
}

// lineages of both domains; nil where pgtls manages none.
type lineages struct{ server, client *lineage }

func (s *lineages) of(domain Domain) *lineage {
	if domain == Server {
		return s.server
	}
	return s.client
}

func (s *lineages) set(domain Domain, l *lineage) {
	if domain == Server {
		s.server = l
	} else {
		s.client = l
	}
}

// signer returns who signs leaves of a domain; nil: nobody can.
func (s *lineages) signer(domain Domain) *Authority {
	if l := s.of(domain); l != nil {
		return l.signer
	}
	return nil
}

// anchors returns what every bundle of a domain is to hold; nil: what it holds is to be kept.
func (s *lineages) anchors(domain Domain) []string {
	if l := s.of(domain); l != nil && (l.signer != nil || l.next != nil) {
		return l.anchors
	}
	return nil
}
