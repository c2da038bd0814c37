package rotation

import (
	"fmt"
	"time"
)

// authorities finds each domain's signer, makes a first one where there never
// was one, and keeps a deleted one from getting lost.
func (d *decision) authorities() {
	for _, domain := range Domains() {
		if _, managed := d.policy.Authorities[domain]; managed {
			d.authority(domain)
		}
	}
}

func (d *decision) authority(domain Domain) {
	seen := d.observed.GenerationSeen[domain]
	newest, count, stored := d.newest(domain, seen)
	name := fmt.Sprintf("%s ca g%d", domain, max(seen, 1))
	switch {
	case newest == nil && seen == 0:
		d.write(Step{Op: CreateAuthority, Domain: domain, Generation: 1, Reason: ReasonFirstGeneration})
		return
	case seen > 0 && !stored:
		d.block(name, AuthorityLost, "generation %d of the %s authority is in use and its Secret is gone: "+
			"what is served goes on being served, nothing new is signed; restore the Secret from a backup", seen, domain)
		return
	case count > 1:
		d.block(name, SeveralAuthorities, "the %s domain has %d authorities and one may sign: delete the Secrets of those that pgtls did not make", domain, count)
		return
	}
	d.keep(newest)
	switch {
	case newest.Problem != "":
		d.block(name, newest.Problem, "%s", newest.Message)
	case !d.observed.Now.Before(newest.Certificate.NotAfter):
		d.block(name, AuthorityExpired, "the %s authority g%d expired on %s and can sign nothing any more",
			domain, newest.Generation, newest.Certificate.NotAfter.Format(time.RFC3339))
	case d.observed.Now.Before(newest.Certificate.NotBefore):
		d.block(name, AuthorityNotYetValid, "the %s authority g%d is valid from %s on: a clock is wrong, the operator's now or the one that made it",
			domain, newest.Generation, newest.Certificate.NotBefore.Format(time.RFC3339))
		d.wakeAt(newest.Certificate.NotBefore)
	default:
		d.active.set(domain, newest)
		d.wakeAt(newest.Certificate.NotAfter)
	}
}

// newest returns the highest generation that is stored, how many generations
// there are, and whether the one that is in use is among them.
func (d *decision) newest(domain Domain, seen int) (newest *Authority, count int, stored bool) {
	for i := range d.observed.Authorities {
		a := &d.observed.Authorities[i]
		if a.Domain != domain {
			continue
		}
		count++
		stored = stored || a.Generation == seen
		if newest == nil || a.Generation > newest.Generation {
			newest = a
		}
	}
	return newest, count, stored
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

// writable reports whether a party's material can be written: every leaf that it
// wants can be signed, and the bundle of a domain that cannot sign is there to be kept.
func (d *decision) writable(p *Party) bool {
	for _, domain := range Domains() {
		if d.active.of(domain) == nil && (p.wants(domain) || len(p.Material.Anchors[domain]) == 0) {
			return false
		}
	}
	return true
}

// signers are the authorities that may sign; nil where there is none.
type signers struct{ server, client *Authority }

func (s *signers) of(domain Domain) *Authority {
	if domain == Server {
		return s.server
	}
	return s.client
}

func (s *signers) set(domain Domain, a *Authority) {
	if domain == Server {
		s.server = a
	} else {
		s.client = a
	}
}
