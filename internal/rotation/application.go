package rotation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Application is a party outside of the cluster's pods: a program that logs in with a client certificate. It verifies servers
// and nobody else. Nobody sees what it presents: its Secret may have been copied, and what it copied is accepted until it ends.
const Application Kind = "application"

// Why a leaf is issued or a revocation list written, and whom the rotation waits for, because of applications.
const (
	ReasonRevoked Reason = "Revoked" // it is revoked, or the revocation lists are not the wanted ones

	CertificatesOutstanding Reason = "CertificatesOutstanding" // applications may still hold certificates of an authority that is to be dropped
	LedgerUnreadable        Reason = "LedgerUnreadable"        // what was issued to applications cannot be read
	CRLMissing              Reason = "CRLMissing"              // certificates are revoked, and an authority that PostgreSQL accepts has no revocation list
)

// verifies reports whether a party holds a bundle of a domain.
func (p *Party) verifies(domain Domain) bool { return p.Kind != Application || domain == Server }

// Ledger is what was issued to applications and has not ended.
type Ledger struct {
	State  MaterialState // Missing: nothing was ever issued
	Issued []Issued      // in the order of issue
}

// Issued is a certificate of an application.
type Issued struct {
	User        string
	Serial      string
	IssuerKeyID string
	At          time.Time // when it was issued: its NotBefore is earlier
	NotAfter    time.Time
	RevokedAt   time.Time // zero: it is not
}

// Swept is when a pod's sessions that came in with revoked certificates were ended, after it had loaded the lists.
type Swept struct {
	Lists string // what was on them, see Material.lists
	First time.Time
	Last  time.Time
}

// Revocations are the serial numbers on the lists of material, by the key of the authority that signed the list. nil: there are
// no lists, and PostgreSQL checks nothing.
type Revocations map[string][]string

// ListNumbers are the numbers of revocation lists, by the key of the authority that signed each. A number is above the
// time, in seconds, at which the list was signed: what was revoked before is on it.
type ListNumbers map[string]int64

// holds reports whether everything in want is in r: a list for each authority, and on it each serial number.
func (r Revocations) holds(want Revocations) bool {
	for issuer, serials := range want {
		list, there := r[issuer]
		if !there || !within(serials, list) {
			return false
		}
	}
	return true
}

// some reports whether anything is on the lists.
func (r Revocations) some() bool {
	for _, serials := range r {
		if len(serials) > 0 {
			return true
		}
	}
	return false
}

// String names what is on the lists; "" when nothing is.
func (r Revocations) String() string {
	if !r.some() {
		return "" // as nearly always: every party is asked in every decision
	}
	var text strings.Builder
	for _, issuer := range slices.Sorted(maps.Keys(r)) {
		for _, serial := range r[issuer] {
			fmt.Fprintf(&text, "%s/%s ", issuer, serial)
		}
	}
	return text.String()
}

// AuthenticationTimeout is how long a client that has shown its certificate may take to log in (PostgreSQL's
// authentication_timeout is a minute): one who showed a certificate just before it was refused is in by then.
const AuthenticationTimeout = 70 * time.Second

// revoking is what a round makes of the ledger.
type revoking struct {
	readable bool
	serials  map[string]bool // that are revoked, or about to be
	wanted   Revocations     // lists that instances are to have; nil: none
	blocked  bool            // they cannot be made
}

// revocations finds what is to be revoked.
func (d *decision) revocations() {
	r := &d.revoked
	r.readable = d.ledgerReadable()
	if len(d.observed.Ledger.Issued) == 0 {
		return
	}
	due := map[Reason][]string{}
	for i := range d.observed.Ledger.Issued {
		entry := &d.observed.Ledger.Issued[i]
		if !d.observed.Now.Before(entry.NotAfter) {
			continue
		}
		switch reason := d.revocationReason(entry); {
		case !entry.RevokedAt.IsZero():
		case reason == "" || !r.readable:
			continue
		default:
			due[reason] = append(due[reason], entry.Serial)
		}
		if r.serials == nil {
			r.serials = map[string]bool{}
		}
		r.serials[entry.Serial] = true
	}
	for _, reason := range slices.Sorted(maps.Keys(due)) {
		d.write(Step{Op: Revoke, Serials: due[reason], Reason: reason})
	}
}

// ledgerReadable says why it is not. Then nothing is issued to applications and nothing is revoked, for it could not be noted,
// and no client authority is dropped.
func (d *decision) ledgerReadable() bool {
	switch d.observed.Ledger.State {
	case Missing, Present:
		return true
	case Foreign:
		d.block("client certificates", ForeignSecret, "the Secret with the ledger of what was issued to applications belongs to somebody else: rename or delete it")
	case Unknown:
		d.block("client certificates", LedgerUnreadable, "the ledger of what was issued to applications cannot be read: restore it, or delete it if there is no copy; "+
			"then only what stands in their Secrets and on the revocation lists is known")
	}
	return false
}

// revocationReason says why a certificate is to be revoked, "" if it is not.
func (d *decision) revocationReason(entry *Issued) Reason {
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		if p.Kind != Application || p.User != entry.User {
			continue
		}
		d.wakeAt(p.RevokeBefore)
		if entry.At.Before(p.RevokeBefore) && !d.observed.Now.Before(p.RevokeBefore) {
			return ReasonRequested
		}
		return ""
	}
	return ReasonUnwanted
}

// revocationLists works out which lists instances are to have: none while nothing that somebody accepts is revoked, else one of
// each authority that they trust. PostgreSQL refuses who comes by an authority without one.
func (d *decision) revocationLists() {
	l, r := d.active.client, &d.revoked
	if l == nil || len(l.issuers) == 0 {
		return // whatever there is stays
	}
	lists, some := Revocations{}, false
	for _, a := range l.issuers {
		var serials []string
		for _, entry := range d.observed.Ledger.Issued {
			if entry.IssuerKeyID == a.Certificate.KeyID && r.serials[entry.Serial] {
				serials = append(serials, entry.Serial)
			}
		}
		if !r.readable { // what was revoked stays so
			serials = append(serials, d.listed(a)...)
		}
		slices.Sort(serials)
		lists[a.Certificate.KeyID] = slices.Compact(serials)
		some = some || len(serials) > 0
	}
	if !some {
		return
	}
	r.wanted = lists
	for _, a := range l.issuers {
		d.listOf(a)
	}
	for i := range d.observed.Foreign {
		if a := &d.observed.Foreign[i]; d.accepted(a) {
			r.blocked = true
			d.block(anchorName(a), CRLMissing, "certificates are revoked, and nobody has the revocation list of %s, whose client certificates PostgreSQL accepts: with the lists of "+
				"the others it would refuse all of them; take it away from spec, or the login from the users whose certificates are revoked", a.Subject)
		}
	}
}

// accepted reports whether bundles hold an anchor from elsewhere for the sake of its client certificates.
func (d *decision) accepted(a *Anchor) bool {
	return a.Domain == Client && a.Admitted && d.observed.Now.Before(a.NotAfter)
}

// withheld reports whether an anchor from elsewhere has to wait, because PostgreSQL checks revocation lists, or is about to: there
// is none of it, so that everybody whom it vouches for would be refused, and no agent would take the material.
func (d *decision) withheld(a *Anchor) bool {
	if a.Domain != Client || a.Admitted {
		return false
	}
	listed := slices.ContainsFunc(d.observed.Parties, func(p Party) bool { return p.Material.Revoked.some() })
	if len(d.revoked.serials) == 0 && (d.revoked.readable || !listed) {
		return false // the lists end with the write that adds it
	}
	return listed || !slices.ContainsFunc(d.observed.Foreign, func(a Anchor) bool { return d.accepted(&a) })
}

func (d *decision) tellWithheld(a *Anchor) {
	d.block(anchorName(a), CRLMissing, "%s is to be trusted for client certificates, and nobody has its revocation list: PostgreSQL checks such lists while a certificate of an application "+
		"is revoked, and would refuse everybody else's; it waits until that has ended", a.Subject)
}

// allWithheld reports whether no verifier will hold an anchor of a custom certificate before something changes.
func (d *decision) allWithheld(c *Custom) bool {
	held := false
	for i := range d.observed.Foreign {
		if a := &d.observed.Foreign[i]; a.Domain == c.Domain && slices.Contains(c.Anchors, a.Fingerprint) {
			if !d.withheld(a) {
				return false
			}
			held = true
		}
	}
	return held
}

// listed are the serial numbers on the lists of an authority that are published.
func (d *decision) listed(a *Authority) (serials []string) {
	for i := range d.observed.Parties {
		serials = append(serials, d.observed.Parties[i].Material.Revoked[a.Certificate.KeyID]...)
	}
	return serials
}

// listOf settles for what there is of an authority that can sign no list: the one that some instance has. It may lack what was
// revoked since, but without any the lists of the others cannot be checked either. One that has expired needs none.
func (d *decision) listOf(a *Authority) {
	r, key := &d.revoked, a.Certificate.KeyID
	if a.Problem == "" || a.expired(d.observed.Now) {
		return
	}
	there, list := false, []string(nil)
	for i := range d.observed.Parties {
		if published, found := d.observed.Parties[i].Material.Revoked[key]; found && len(published) >= len(list) {
			there, list = true, published
		}
	}
	if there && within(r.wanted[key], list) {
		r.wanted[key] = list
		return
	}
	r.wanted[key] = list
	r.blocked = r.blocked || !there
	d.block(authorityName(Client, a.Generation), CRLMissing, "certificates are revoked, and the list of client g%d cannot be signed without its key: "+
		"they are refused once it is dropped (the annotation pgtls.dev/retire-approved); until then take the login away from their users", a.Generation)
}

// revocationCurrent reports whether a party's lists are as they should be. What has ended may stay on them until they are written
// for another reason.
func (d *decision) revocationCurrent(p *Party) bool {
	switch {
	case p.Kind != Instance:
		return p.Material.Revoked == nil
	case d.revoked.wanted == nil || d.revoked.blocked:
		return true
	default:
		return p.Material.Revoked.holds(d.revoked.wanted)
	}
}

// Lists returns what is to stand on the revocation list of each client authority, by its key; nil: no lists are to be written.
// keep: those that there are stay.
func (p *Plan) Lists() (lists Revocations, keep bool) {
	if p.revoked.blocked || p.revoked.wanted == nil && p.noClientAuthority() {
		return nil, true
	}
	return p.revoked.wanted, false
}

func (p *Plan) noClientAuthority() bool {
	return !slices.ContainsFunc(p.lineages, func(l lineage) bool { return l.domain == Client && len(l.issuers) > 0 })
}

// discardApplications deletes the Secrets of applications that are not wanted any more, after what they hold was revoked.
func (d *decision) discardApplications() {
	for _, name := range d.observed.UnwantedApplications {
		if d.revoked.readable {
			d.write(Step{Op: Discard, Party: name, Reason: ReasonUnwanted})
		}
	}
}

// sweep ends the sessions that came in with revoked certificates, on each pod that is settled with the lists. Nobody comes in
// with one after that, but for who was about to: so it is done once more.
func (d *decision) sweep() {
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		lists := p.Material.Revoked.String()
		if p.Kind != Instance || lists == "" {
			continue
		}
		for j := range p.Pods {
			pod := &p.Pods[j]
			again := pod.Swept.First.Add(AuthenticationTimeout)
			switch {
			case !settled(p, pod):
			case pod.Swept.Lists != lists, pod.Swept.Last.Before(again) && !d.observed.Now.Before(again):
				d.ask(Step{Op: EndSessions, Party: p.Name, Pod: pod.Name, Reason: ReasonRevoked})
			case pod.Swept.Last.Before(again):
				d.wakeAt(again)
			}
		}
	}
}

// revocationPatience is how long a revocation goes through the gates like anything else.
const revocationPatience = 5 * time.Second

// pressing reports whether a pod has to be asked although somebody before it is not settled: it lets in whom it must not. One pod
// goes first, and when it was seen to refuse who is revoked and nobody else, all others follow at once. A pod that is broken for
// another reason must not keep them from it for long. Where the lists themselves may be what is wrong, because a pod that has
// loaded them is not settled, they wait: everybody might be refused.
func (d *decision) pressing(p *Party, pod *Pod) bool {
	at, missing := d.observed.listsDue(p, pod)
	if !missing || d.observed.listsInDoubt() {
		return false
	}
	d.wakeAt(at)
	return !d.observed.Now.Before(at)
}

// listsDue returns since when a pod may wait no longer for lists that are published, and whether it is known to lack one of what
// is on them.
func (o *Observed) listsDue(p *Party, pod *Pod) (at time.Time, missing bool) {
	if p.Kind != Instance || pod.Report == nil || p.Material.Revoked == nil {
		return at, false
	}
	for _, entry := range o.Ledger.Issued {
		published, listed := p.Material.Lists[entry.IssuerKeyID]
		has, some := pod.Report.Lists[entry.IssuerKeyID]
		if entry.RevokedAt.IsZero() || !listed || !slices.Contains(p.Material.Revoked[entry.IssuerKeyID], entry.Serial) {
			continue
		}
		if some && (has >= published || entry.RevokedAt.Unix() < has) {
			continue // it has this list, or one that was signed after the revocation
		}
		if late := entry.RevokedAt.Add(revocationPatience); !missing || late.Before(at) {
			at, missing = late, true
		}
	}
	if missing && o.listsProven(p.Material.Lists) {
		at = at.Add(-revocationPatience)
	}
	return at, missing
}

// listsProven reports whether some pod was seen to be well with lists of these numbers.
func (o *Observed) listsProven(numbers ListNumbers) bool {
	return slices.ContainsFunc(o.Parties, func(p Party) bool {
		return p.Kind == Instance && slices.ContainsFunc(p.Pods, func(pod Pod) bool {
			return pod.Report != nil && maps.Equal(pod.Report.Lists, numbers) && settled(&p, &pod)
		})
	})
}

// listsInDoubt reports whether some pod has loaded published lists and is not settled.
func (o *Observed) listsInDoubt() bool {
	for i := range o.Parties {
		p := &o.Parties[i]
		for j := range p.Pods {
			pod := &p.Pods[j]
			if p.Kind == Instance && p.Material.Revoked != nil && pod.Report != nil && maps.Equal(pod.Report.Lists, p.Material.Lists) && !settled(p, pod) {
				return true
			}
		}
	}
	return false
}

// noneOutstanding reports whether no application may still hold a certificate of an authority that is to be dropped. Nobody sees
// what an application presents next, so that only its end, its revocation or a person's word is known to be enough.
func (d *decision) noneOutstanding(l *lineage, old *Authority) bool {
	if l.domain != Client || d.policy.Rekey[Client].Approved == old.Generation {
		return true
	}
	if !d.holds(guardLedger, d.revoked.readable) {
		return false
	}
	var last *Issued
	count := 0
	for i := range d.observed.Ledger.Issued {
		entry := &d.observed.Ledger.Issued[i]
		if entry.IssuerKeyID != old.Certificate.KeyID || !entry.RevokedAt.IsZero() || !d.observed.Now.Before(entry.NotAfter) {
			continue
		}
		d.wakeAt(entry.NotAfter)
		count++
		if last == nil || last.NotAfter.Before(entry.NotAfter) {
			last = entry
		}
	}
	if d.holds(guardLedger, last == nil) {
		return true
	}
	d.block(authorityName(Client, old.Generation), CertificatesOutstanding, "%s of client g%d may be in use until %s, the last is %s of user %s: revoke them (revokeIssuedBefore), or set the annotation "+
		"pgtls.dev/retire-approved to client-g%d once their users are known to present newer ones", certificates(count), old.Generation, last.NotAfter.UTC().Format(time.RFC3339), last.Serial, last.User, old.Generation)
	return false
}

func certificates(n int) string {
	if n == 1 {
		return "1 certificate"
	}
	return fmt.Sprintf("%d certificates", n)
}
