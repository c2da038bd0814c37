package rotation

import (
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// lineage is what the stored generations of a domain come to. It is derived anew from every observation.
type lineage struct {
	domain  Domain
	signer  *Authority   // signs leaves; nil: none can
	next    *Authority   // to be trusted everywhere before it signs; nil: no re-key is being prepared
	leaving []*Authority // older ones and withdrawn ones: trusted until nothing uses them, oldest first
	dropped []*Authority // no longer to be trusted, and their Secrets are still there
	anchors []string     // fingerprints of all that are to be trusted, sorted
	highest int          // generation that was ever heard of
	lost    bool         // a generation is in use of which nothing is known
	// recovers: all other generations have expired, so that whatever a pod presents of them is refused by everybody.
	recovers bool
	// pressing: the re-key that is under way waits for no window; waits: its next turn waits for one, or for the end of a pause.
	pressing, waits bool
	// chains are the fingerprints of the bridges to be presented behind a leaf, in the order of issuers.
	issuers []*Authority
	chains  [][]string
}

// lineageOf sorts the generations of a domain into their roles.
func (d *decision) lineageOf(domain Domain) lineage {
	l := lineage{domain: domain, highest: d.observed.GenerationSeen[domain]}
	var live []*Authority
	l.lost = l.highest > 0
	for i := range d.observed.Authorities {
		a := &d.observed.Authorities[i]
		if a.Domain != domain {
			continue
		}
		l.lost = l.lost && a.Generation != d.observed.GenerationSeen[domain] && !slices.Contains(a.Retired, d.observed.GenerationSeen[domain])
		l.highest = slices.Max(append([]int{l.highest, a.Generation, a.RolledBack}, a.Retired...))
		switch {
		case a.Problem == AuthorityForeign || a.Certificate.Fingerprint == "":
		case !d.retired(a):
			live = append(live, a)
		case a.Original.Present || a.Copy.Present:
			l.dropped = append(l.dropped, a)
		}
	}
	if l.lost {
		return l // who signed what is in use is not known, and so nobody signs
	}
	slices.SortFunc(live, func(a, b *Authority) int { return a.Generation - b.Generation })
	d.cast(&l, live)
	for _, a := range live {
		l.anchors = append(l.anchors, a.Certificate.Fingerprint)
		if a != l.signer { // its role is another when it can sign, and when it no longer can
			d.wakeAt(a.Certificate.NotBefore)
			d.wakeAt(a.Certificate.NotAfter)
		}
	}
	l.anchors = append(l.anchors, d.admitted(domain)...)
	slices.Sort(l.anchors)
	d.bridges(&l, live)
	return l
}

// cast gives each generation that is to be trusted its role. The oldest signs until a newer one was switched to. One that
// has expired is refused by everybody already, with all that it issued: the next one need not wait for anything.
func (d *decision) cast(l *lineage, live []*Authority) {
	oldest := true
	for _, a := range live {
		if withdrawn(a, live) {
			continue
		}
		switch {
		case !a.usable(d.observed.Now):
		case (oldest || d.holds(guardSwitched, !a.SwitchedAt.IsZero())) && !d.forgotten(a, live):
			l.signer, l.next = a, nil
		default:
			l.next = a
		}
		oldest = oldest && a.expired(d.observed.Now)
	}
	for _, a := range live {
		if a != l.signer && a != l.next {
			l.leaving = append(l.leaving, a)
			l.recovers = l.signer != nil
		}
	}
	for _, a := range l.leaving {
		l.recovers = l.recovers && a.expired(d.observed.Now)
	}
}

// expired reports whether nobody accepts an authority any more, nor what it issued.
func (a *Authority) expired(now time.Time) bool {
	return !a.Certificate.NotAfter.IsZero() && !now.Before(a.Certificate.NotAfter)
}

// forgotten reports whether an authority may have been dropped from trust by another one whose Secret is lost, and the note
// with it. Then some bundle may lack it, and it is trusted anew before it signs. One whose leaves are published was not
// dropped.
func (d *decision) forgotten(a *Authority, live []*Authority) bool {
	lost := slices.ContainsFunc(live, func(b *Authority) bool {
		return b != a && b.Problem == AuthorityLost && (b.Generation < a.Generation || b.Generation > a.RolledBack)
	})
	return lost && !d.publishes(a) && !d.heldByAll(a)
}

// publishes reports whether some leaf that is published was issued by an authority.
func (d *decision) publishes(a *Authority) bool {
	for i := range d.observed.Parties {
		if leaf := d.observed.Parties[i].material(a.Domain); leaf != nil && leaf.IssuerKeyID == a.Certificate.KeyID {
			return true
		}
	}
	return false
}

// heldByAll reports whether an authority is in all material, and every pod uses that and says that it has loaded it. Who has
// nothing to present is not waited for: its material cannot be written before somebody signs.
func (d *decision) heldByAll(a *Authority) bool {
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		leaf := p.material(a.Domain)
		if p.Material.State == Foreign || !p.verifies(a.Domain) || p.wants(a.Domain) && (leaf == nil || leaf.Problem != "") {
			continue
		}
		if !slices.Contains(p.Material.Anchors.Of(a.Domain), a.Certificate.Fingerprint) {
			return false
		}
		for j := range p.Pods {
			if pod := &p.Pods[j]; !settled(p, pod) || !slices.Contains(pod.Report.Loaded.Of(a.Domain), a.Certificate.Fingerprint) {
				return false
			}
		}
	}
	return true
}

// usable reports whether an authority can sign now.
func (a *Authority) usable(now time.Time) bool {
	return a.Problem == "" && !now.Before(a.Certificate.NotBefore) && now.Before(a.Certificate.NotAfter)
}

// withdrawn reports whether an older generation was rolled back to.
func withdrawn(a *Authority, live []*Authority) bool {
	return slices.ContainsFunc(live, func(b *Authority) bool { return b.Generation < a.Generation && a.Generation <= b.RolledBack })
}

// retired reports whether some generation has noted that this one was dropped.
func (d *decision) retired(a *Authority) bool {
	for i := range d.observed.Authorities {
		if b := &d.observed.Authorities[i]; b.Domain == a.Domain && b != a && slices.Contains(b.Retired, a.Generation) {
			return true
		}
	}
	return false
}

// rekeying reports whether more than one generation is there to be dealt with.
func (l *lineage) rekeying() bool { return l.next != nil || len(l.leaving) > 0 || len(l.dropped) > 0 }

// until is when a bridge leaves the chains, some time before it ends: what is published is served for a while.
func (b Bridge) until() time.Time {
	return b.NotAfter.Add(-min(time.Hour, b.NotAfter.Sub(b.NotBefore)/10))
}

// bridges works out what is presented behind the leaves of each generation, to a depth of 2. An authority's own forward
// bridge leads a verifier that knows only the generation before; the older bridge leads on to the one before that. A
// leaf of an authority that no older one vouches for is vouched for by the newer one.
func (d *decision) bridges(l *lineage, live []*Authority) {
	for _, a := range live {
		var chain []string
		if d.removed != guardBridge && d.good(l.domain, a.Forward) {
			chain = append(chain, a.Forward.Fingerprint)
			if d.removed != guardSecondBridge && a.Older.KeyID == a.Forward.IssuerKeyID && d.good(l.domain, a.Older) {
				chain = append(chain, a.Older.Fingerprint)
			}
		} else if back := backTo(a, live); d.good(l.domain, back) {
			chain = append(chain, back.Fingerprint)
		}
		l.issuers, l.chains = append(l.issuers, a), append(l.chains, chain)
	}
}

// good reports whether a bridge is there, lasts, and is not the word of an authority that must not be trusted.
func (d *decision) good(domain Domain, b Bridge) bool {
	if b.Fingerprint == "" || !d.observed.Now.Before(b.until()) || d.tainted(domain, b.IssuerKeyID) {
		return false
	}
	d.wakeAt(b.until())
	return true
}

// tainted reports whether a key is that of an authority which somebody said must not be trusted any longer.
func (d *decision) tainted(domain Domain, keyID string) bool {
	tainted := d.policy.Rekey[domain].Tainted
	return slices.ContainsFunc(d.observed.Authorities, func(a Authority) bool {
		return a.Domain == domain && a.Generation == tainted && a.Certificate.KeyID == keyID
	})
}

// backTo returns the bridge by which the newest other generation vouches for one.
func backTo(a *Authority, live []*Authority) Bridge {
	for _, b := range slices.Backward(live) {
		if b.Backward.Fingerprint != "" && b.Backward.KeyID == a.Certificate.KeyID {
			return b.Backward
		}
	}
	return Bridge{}
}

// issuer returns the authority to be trusted that signed a leaf, and the bridges that go with the leaf; nil: nobody's.
func (l *lineage) issuer(leaf *Leaf) (*Authority, []string) {
	for i, a := range l.issuers {
		if a.Certificate.KeyID == leaf.IssuerKeyID {
			return a, l.chains[i]
		}
	}
	return nil, nil
}

// turn is a step that changes what is to be trusted or who signs. It is taken alone, and everything is observed again.
func (d *decision) turn(s Step) { d.turns = append(d.turns, s) }

// rekey moves a domain's re-key on by one turn, or begins one.
func (d *decision) rekey(l *lineage) {
	policy := d.policy.Rekey[l.domain]
	l.pressing = d.isPressing(l, policy)
	switch {
	case d.rollBack(l, policy):
	case l.next != nil && policy.Tainted == l.next.Generation: // it never signs
		d.turn(Step{Op: RollBack, Domain: l.domain, Generation: l.next.Generation, Signer: l.signer.Generation, Reason: ReasonTainted})
	case l.next != nil:
		d.switchSigner(l)
	case len(l.leaving) > 0:
		d.dropOld(l, policy)
	case len(l.dropped) > 0:
		d.discard(l)
	default:
		d.begin(l, policy)
	}
}

// begin makes a new generation when there is reason to, and nothing else is being re-keyed.
func (d *decision) begin(l *lineage, policy RekeyPolicy) {
	reason := d.rekeyReason(l, policy)
	if reason == "" {
		return
	}
	step := Step{Op: TrustNew, Domain: l.domain, Generation: l.highest + 1, Reason: reason, Bridged: reason != ReasonTainted, Message: d.breaks(l, l.signer)}
	name := authorityName(l.domain, l.signer.Generation)
	switch {
	case reason == ReasonTainted: // an emergency waits for nobody
	case reason != ReasonRequested && d.postponeTurn(l, step, false):
		return
	case l.signer.RolledBack > 0 && reason != ReasonRequested:
		d.block(name, RekeyRolledBack, "the %s authority is to be re-keyed (%s) and its last re-key was rolled back: when the cause is removed, "+
			"set the annotation pgtls.dev/rotate-authority-requested-at to %s:<any new value>", l.domain, reason, l.domain)
		return
	case d.otherRekeying(l.domain):
		d.block(name, AwaitingOtherDomain, "the %s authority is to be re-keyed (%s) after the other domain's", l.domain, reason)
		return
	}
	d.turn(step)
}

// rekeyReason says why a domain's authority is to be replaced, "" if it is not.
func (d *decision) rekeyReason(l *lineage, policy RekeyPolicy) Reason {
	want := d.policy.Authorities[l.domain]
	switch {
	case policy.Tainted == l.signer.Generation:
		return ReasonTainted
	case policy.Request != "" && policy.Request != l.signer.Answered:
		return ReasonRequested
	case want.Algorithm != "" && want.Algorithm != l.signer.Certificate.Algorithm && l.signer.Certificate.Algorithm != "":
		return ReasonKeyAlgorithmChanged
	case want.RenewBefore <= 0:
		return ""
	}
	c := l.signer.Certificate
	at := pki.RenewalTime(c.NotBefore, c.NotAfter, want.RenewBefore, authorityName(l.domain, l.signer.Generation))
	if d.observed.Now.Before(at) {
		d.wakeAt(at)
		return ""
	}
	return ReasonDue
}

// otherRekeying reports whether the other domain is in the middle of a re-key, or about to begin one.
func (d *decision) otherRekeying(domain Domain) bool {
	for i := range d.lineages {
		if l := &d.lineages[i]; l.domain != domain && l.rekeying() {
			return true
		}
	}
	return len(d.turns) > 0
}

// switchSigner lets the new authority sign once every verifier is known to have loaded it: SwitchSigner's guard.
func (d *decision) switchSigner(l *lineage) {
	d.phase(l, Preparing, l.next)
	step := Step{Op: SwitchSigner, Domain: l.domain, Generation: l.next.Generation, Reason: ReasonTrusted}
	if d.trustedEverywhere(l, l.next.Certificate.Fingerprint) && d.followersServed(l) && !d.postponeTurn(l, step, true) {
		d.turn(step)
	}
}

// followersServed gives clients that follow the ConfigMap the time to take the new authority where nothing vouches for it,
// because the key of the old one is lost. Nobody can see what they hold; they get as much time as there is: until a
// leaf has to be issued, and no more than the soak.
func (d *decision) followersServed(l *lineage) bool {
	if l.domain != Server || l.signer != nil || l.next.Created.IsZero() {
		return true
	}
	until := l.next.Created.Add(d.policy.RetireSoak)
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		for _, w := range p.Wants {
			leaf := p.material(w.Domain)
			switch {
			case w.Domain != l.domain || p.Material.State == Foreign:
			case leaf == nil || leaf.Problem != "":
				return true
			case dueFrom(leaf, &w).Before(until):
				until = dueFrom(leaf, &w)
			}
		}
	}
	if d.holds(guardFollowers, !d.observed.Now.Before(until)) {
		return true
	}
	d.block(authorityName(l.domain, l.next.Generation), AwaitingTrustPropagation,
		"nothing vouches for the new authority, as the key of the old one is lost: clients that follow the ConfigMap are given until %s to take it", until.UTC().Format(time.RFC3339))
	d.wakeAt(until)
	return false
}

// dueFrom is when the jitter may first have a leaf renewed.
func dueFrom(leaf *Leaf, w *LeafWant) time.Time {
	return leaf.NotAfter.Add(-w.RenewBefore - w.RenewBefore/10)
}

// speechless reports whether a party has nothing to present in a domain, and nobody who could issue it something: its
// material cannot be written before the new authority signs, and so is not waited for.
func (l *lineage) speechless(p *Party) bool {
	leaf := p.material(l.domain)
	return l.signer == nil && p.wants(l.domain) && (leaf == nil || leaf.Problem != "")
}

// trustedEverywhere reports whether every bundle that is published holds an anchor, and every pod has loaded it. A pod that is
// not settled is named by its own blocker; one that is settled and has not loaded it is named here.
func (d *decision) trustedEverywhere(l *lineage, anchor string) bool {
	domain := l.domain
	yes := domain != Server || d.holds(guardClientsTrust, d.observed.PublicTrust.State == Present && slices.Contains(d.observed.PublicTrust.Anchors, anchor))
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		if p.Material.State == Foreign || !p.verifies(domain) || l.speechless(p) {
			continue
		}
		if !d.holds(guardMaterialTrusts, p.sound() && slices.Contains(p.Material.Anchors.Of(domain), anchor)) {
			yes = false
			continue
		}
		for j := range p.Pods {
			switch pod := &p.Pods[j]; {
			case !settled(p, pod):
				yes = false
			case !d.holds(guardPodTrusts, slices.Contains(pod.Report.Loaded.Of(domain), anchor)):
				yes = false
				d.block(pod.Name, TrustNotLoaded, "pod %s uses its material and does not say that it has loaded the new %s authority: see its container agent", pod.Name, domain)
			}
		}
	}
	return yes
}

// dropOld lets go of an authority that nothing uses any more: DropOld's guard.
func (d *decision) dropOld(l *lineage, policy RekeyPolicy) {
	old := l.leaving[0]
	back := l.signer != nil && old.Generation > l.signer.Generation
	switch {
	case l.signer == nil:
		return // said already
	case back:
		d.phase(l, RollingBack, old)
	default:
		d.phase(l, Reissuing, l.signer)
	}
	name := authorityName(l.domain, old.Generation)
	worthless := policy.Tainted == old.Generation || !old.usable(d.observed.Now)
	if !d.unused(l) || !worthless && !d.noSessions(l, old) {
		return
	}
	// Of a lost one the certificates are as good as before; of one that has ended, or must not be trusted, nothing is.
	if policy.Tainted != old.Generation && !old.expired(d.observed.Now) && !d.noneOutstanding(l, old) {
		if !back {
			d.phase(l, Soaking, l.signer)
		}
		return
	}
	step := Step{Op: DropOld, Domain: l.domain, Generation: old.Generation, Signer: l.signer.Generation, Reason: ReasonUnused}
	emergency := back || worthless || policy.Tainted == l.signer.Generation
	soaked := l.signer.SwitchedAt.Add(d.policy.RetireSoak)
	switch {
	case emergency || policy.Approved == old.Generation:
	case d.policy.RetireManual:
		d.phase(l, Soaking, l.signer)
		d.block(name, AwaitingApproval, "nothing uses the %s authority g%d any more: set the annotation pgtls.dev/retire-approved to %s-g%d to drop it from every bundle",
			l.domain, old.Generation, l.domain, old.Generation)
		return
	case !d.holds(guardSoaked, !d.observed.Now.Before(soaked)):
		d.phase(l, Soaking, l.signer)
		d.block(name, AwaitingSoak, "nothing uses the %s authority g%d any more; it stays trusted until %s (spec.tls.rotation.retireSoak)",
			l.domain, old.Generation, soaked.UTC().Format(time.RFC3339))
		d.wakeAt(soaked)
		return
	case d.postponeTurn(l, step, true):
		d.phase(l, Soaking, l.signer)
		return
	}
	d.turn(step)
}

// unused reports whether everything that is stored and served was issued by the signer.
func (d *decision) unused(l *lineage) bool {
	unused := true
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		if p.Material.State == Foreign || !p.wants(l.domain) {
			continue
		}
		leaf := p.material(l.domain)
		if !d.holds(guardReissued, p.sound() && leaf.IssuerKeyID == l.signer.Certificate.KeyID) {
			unused = false
			continue
		}
		for j := range p.Pods {
			unused = unused && d.holds(guardSettled, settled(p, &p.Pods[j]))
		}
	}
	for _, leftover := range d.observed.Leftovers {
		if leftover.Domain == l.domain && !d.holds(guardLeftovers, leftover.IssuerKeyID == l.signer.Certificate.KeyID) {
			unused = false
			d.block(leftover.Party, StillInUse, "material %s of a pod that is going away was issued by an authority that is to be dropped", leftover.Party)
		}
	}
	return unused
}

// noSessions reports whether nobody from elsewhere is connected with a client certificate of an authority that is to be
// dropped: he would be refused when he comes again. The cluster's own pods come again with what was published for them.
func (d *decision) noSessions(l *lineage, old *Authority) bool {
	none := true
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		for j := range p.Pods {
			if pod := &p.Pods[j]; l.domain == Client && p.Kind == Instance && !d.holds(guardSessions, d.sessionsGone(pod, old)) {
				none = false
			}
		}
	}
	return none
}

func (d *decision) sessionsGone(pod *Pod, old *Authority) bool {
	if !pod.SessionsKnown {
		d.block(pod.Name, SessionsUnknown, "the sessions of pod %s could not be read, and some may have come with a certificate of client g%d", pod.Name, old.Generation)
		return false
	}
	for _, s := range pod.Sessions {
		if s.Generation == old.Generation {
			d.block(pod.Name, StillInUse, "user %s is connected to pod %s from %s with a certificate that client g%d issued: give him a new one, let him connect anew",
				s.User, pod.Name, s.Address, old.Generation)
			return false
		}
	}
	return true
}

// discard deletes an authority that no bundle holds any more.
func (d *decision) discard(l *lineage) {
	old := l.dropped[0]
	d.phase(l, Retiring, l.signer)
	if l.signer == nil || !d.trustedNowhere(l.domain, old.Certificate.Fingerprint) {
		return
	}
	d.turn(Step{Op: DiscardAuthority, Domain: l.domain, Generation: old.Generation, Reason: ReasonUntrusted})
}

// trustedNowhere reports whether no bundle that is published or loaded is known, or could be, to hold an anchor.
func (d *decision) trustedNowhere(domain Domain, anchor string) bool {
	if trust := &d.observed.PublicTrust; domain == Server && trust.State != Foreign &&
		!d.holds(guardClientsForget, trust.State == Present && !slices.Contains(trust.Anchors, anchor)) {
		return false
	}
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		if p.Material.State == Foreign || !p.verifies(domain) {
			continue
		}
		if !d.holds(guardMaterialForget, p.sound() && !slices.Contains(p.Material.Anchors.Of(domain), anchor)) {
			return false
		}
		for j := range p.Pods {
			pod := &p.Pods[j]
			if !d.holds(guardPodForgets, settled(p, pod) && len(pod.Report.Loaded.Of(domain)) > 0 && !slices.Contains(pod.Report.Loaded.Of(domain), anchor)) {
				return false
			}
		}
	}
	return true
}

// phase notes how far a domain's re-key has come; a later note replaces an earlier one.
func (d *decision) phase(l *lineage, phase Phase, to *Authority) {
	r := Rekey{Domain: l.domain, Phase: phase}
	if to != nil {
		r.To = to.Generation
	}
	switch {
	case phase == Preparing && l.signer != nil:
		r.From = l.signer.Generation
	case len(l.leaving) > 0 && l.leaving[0] != to:
		r.From = l.leaving[0].Generation
	case phase == RollingBack && l.signer != nil:
		r.From, r.To = to.Generation, l.signer.Generation
	case len(l.dropped) > 0:
		r.From = l.dropped[0].Generation
	}
	if from := generation(slices.Concat(l.leaving, l.dropped), r.From); from != nil && phase != RollingBack {
		r.AffectedClients = d.breaks(l, from)
	}
	d.rekeys = slices.DeleteFunc(d.rekeys, func(r Rekey) bool { return r.Domain == l.domain })
	d.rekeys = append(d.rekeys, r)
}

// breaks says which clients are refused because nothing leads from the old authority to the new one; "" when none is.
func (d *decision) breaks(l *lineage, from *Authority) string {
	why := ""
	switch {
	case d.policy.Rekey[l.domain].Tainted == from.Generation:
		why = "must not be trusted"
	case from.expired(d.observed.Now):
		why = "has expired"
	case from.Problem != "":
		why = "has lost its key"
	default:
		return ""
	}
	if l.domain == Client {
		return fmt.Sprintf("client g%d %s: applications with certificates of it are refused until they have new ones", from.Generation, why)
	}
	return fmt.Sprintf("server g%d %s: clients that copied its certificate are refused until they are given what the ConfigMap holds", from.Generation, why)
}

// Signer returns the generation that signs leaves of a domain; 0: none can.
func (p *Plan) Signer(domain Domain) int {
	for i := range p.lineages {
		if l := &p.lineages[i]; l.domain == domain && l.signer != nil {
			return l.signer.Generation
		}
	}
	return 0
}

// Anchors returns the fingerprints of what every bundle of a domain is to hold, sorted; nil: what it holds is to be kept.
func (p *Plan) Anchors(domain Domain) []string {
	for i := range p.lineages {
		if l := &p.lineages[i]; l.domain == domain && (l.signer != nil || l.next != nil) {
			return l.anchors
		}
	}
	return nil
}

// Chain returns the fingerprints of the bridges to be presented behind a leaf of a domain that a key issued.
func (p *Plan) Chain(domain Domain, issuerKeyID string) []string {
	for i := range p.lineages {
		if l := &p.lineages[i]; l.domain == domain {
			_, chain := l.issuer(&Leaf{CertificateFacts: pki.CertificateFacts{IssuerKeyID: issuerKeyID}})
			return chain
		}
	}
	return nil
}

func generation(of []*Authority, number int) *Authority {
	for _, a := range of {
		if a.Generation == number {
			return a
		}
	}
	return nil
}
