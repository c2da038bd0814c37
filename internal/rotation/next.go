package rotation

import (
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Next decides what to do about what was observed.
//
// It returns an error only when the policy makes no sense (a leaf without a
// life); everything that can be the case in a cluster gives a plan.
func Next(policy Policy, observed Observed) (Plan, error) { return next(policy, observed, guardNone) }

// next is Next without one guard: only a test removes any.
func next(policy Policy, observed Observed, removed guard) (Plan, error) {
	if err := policy.check(observed.Parties); err != nil {
		return Plan{}, err
	}
	d := decision{policy: policy, observed: observed, removed: removed}
	d.revocations()
	d.authorities()
	d.revocationLists()
	d.foreign()
	d.publicTrust()
	d.parties()
	d.unwanted()
	d.discardApplications()
	d.sweep()
	d.planning()
	return d.plan(), nil
}

// decision collects a plan.
type decision struct {
	policy   Policy
	observed Observed
	removed  guard // by a test

	active   lineages
	lineages []lineage
	rekeys   []Rekey
	turns    []Step // what changes who is trusted or who signs: each is taken alone
	writes   []Step // what is stored: it comes first, for it harms nobody
	asks     []Step // what is done with pods
	blockers []Blocker
	wake     time.Time
	renewal  time.Time
	closed   bool // the gate: an earlier party or pod is not settled
	revives  bool // a write may bring back a revision that pods were asked for before: look again first
	planned  planned
	reissue  [2]Domain // room for the need of one party: most wait for their turn, and theirs is not kept

	adoptions []Adoption
	revoked   revoking
}

func (p Policy) check(parties []Party) error {
	for i := range parties {
		for _, w := range parties[i].Wants {
			if w.Life <= 0 || w.RenewBefore < 0 || w.RenewBefore >= w.Life {
				return fmt.Errorf("policy for the %s leaf of %s: renewBefore %s must be at least 0 and shorter than duration %s",
					w.Domain, parties[i].Name, w.RenewBefore, w.Life)
			}
		}
	}
	for _, domain := range Domains() {
		if a, managed := p.Authorities[domain]; managed && a.Life <= 0 {
			return fmt.Errorf("policy for the %s authority: duration %s must be above 0", domain, a.Life)
		}
	}
	return nil
}

func (d *decision) plan() Plan {
	steps := d.writes
	switch {
	case len(d.turns) > 0:
		steps = d.turns[:1] // what else is planned was planned for another lineage
	case !d.revives:
		// Every repair of a bundle goes before anybody is asked to present what it
		// is to verify: TrustBeforeUse.
		steps = append(steps, d.asks...)
	}
	state := Steady
	switch {
	case len(steps) > 0:
		state = Renewing
	case slices.ContainsFunc(d.blockers, func(b Blocker) bool { return !b.Patient() }):
		state = Waiting
	}
	return Plan{State: state, Steps: steps, Blockers: d.blockers, Wake: d.wake, NextRenewal: d.renewal, Rekeys: d.rekeys, Adoptions: d.adoptions, lineages: d.lineages, revoked: d.revoked}
}

// write adds a step. Few parties are written at a time, as each waits for its turn, or nearly all, as with a new bundle.
func (d *decision) write(s Step) {
	const few = 4
	if len(d.writes) == few {
		d.writes = slices.Grow(d.writes, len(d.observed.Parties))
	}
	d.writes = append(d.writes, s)
}

func (d *decision) ask(s Step) { d.asks = append(d.asks, s) }

func (d *decision) block(party string, reason Reason, format string, args ...any) {
	d.blockers = append(d.blockers, Blocker{Party: party, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// wakeAt notes a time at which the plan changes by itself.
func (d *decision) wakeAt(t time.Time) {
	if t.After(d.observed.Now) && (d.wake.IsZero() || t.Before(d.wake)) {
		d.wake = t
	}
}

// renewAt notes a time at which a leaf becomes due. What is not before that of another leaf changes nothing.
func (d *decision) renewAt(t time.Time) {
	if d.renewal.IsZero() || t.Before(d.renewal) {
		d.renewal = t
		d.wakeAt(t)
	}
}

// publicTrust keeps the ConfigMap that clients read.
func (d *decision) publicTrust() {
	anchors := d.active.anchors(Server)
	trust := d.observed.PublicTrust
	switch {
	case trust.State == Foreign:
		d.block("ca", ForeignConfigMap, "the ConfigMap for the clients' trust bundle belongs to somebody else: rename or delete it")
	case trust.State == Unknown:
		d.block("ca", MaterialUnknown, "the ConfigMap for the clients' trust bundle could not be read: the operator tries again")
	case anchors == nil:
	case trust.State == Missing:
		d.write(Step{Op: PublishTrust, Domain: Server, Reason: ReasonMissing})
	case !slices.Equal(trust.Anchors, anchors):
		d.write(Step{Op: PublishTrust, Domain: Server, Reason: ReasonTrustChanged})
	}
}

// unwanted discards keys that nobody needs.
func (d *decision) unwanted() {
	for _, name := range d.observed.Unwanted {
		d.write(Step{Op: Discard, Party: name, Reason: ReasonUnwanted})
	}
}

// parties walks the parties in stage order.
func (d *decision) parties() {
	for _, stage := range stages {
		for i := range d.observed.Parties {
			if p := &d.observed.Parties[i]; stageOf(p) == stage {
				d.party(p)
			}
		}
	}
}

// party publishes for one party and settles its pods.
func (d *decision) party(p *Party) {
	switch p.Material.State {
	case Unknown:
		d.block(p.Name, MaterialUnknown, "Secret %s could not be read: the operator tries again", p.Name)
		d.closed = true
		return
	case Foreign:
		d.block(p.Name, ForeignSecret, "Secret %s exists and does not belong to this cluster: rename or delete it", p.Name)
		return // its pods cannot have started from it; the rest goes on
	case Missing, Present:
	}
	if !d.writable(p) || p.Kind == Application && !d.revoked.readable {
		d.settle(p)
		return
	}
	need := d.need(p)
	if need.reason == "" {
		d.settle(p)
		return
	}
	if d.closed && need.canWait {
		if urgentAt := p.publishUrgentAt(&d.policy); d.observed.Now.Before(urgentAt) {
			d.wakeAt(urgentAt)
			d.settle(p)
			return
		}
	}
	reissue := append([]Domain(nil), need.reissue...)
	d.write(Step{Op: Publish, Party: p.Name, Reissue: reissue, Adopt: need.adopt, Own: need.own, Reason: need.reason})
	d.revives = d.revives || len(need.reissue) == 0 && !need.relisted
	d.activateFirst(p)
}

// activateFirst asks the first pod of a party to use what the plan is about to
// publish for it, in the same breath: one round less until it is served.
func (d *decision) activateFirst(p *Party) {
	if len(p.Pods) == 0 {
		return
	}
	switch pod := &p.Pods[0]; {
	case !d.open(p, pod):
	case pod.Report == nil && !d.worthless(p):
		d.unreachable(pod)
	default:
		d.ask(Step{Op: Activate, Party: p.Name, Pod: pod.Name, Reason: ReasonPublished})
	}
	d.closed = true
}

// open reports whether a pod may be activated now: nobody before it is
// unsettled and nobody anywhere is in doubt after being asked (the order changes
// with a failover), or it cannot wait for them any longer.
func (d *decision) open(p *Party, pod *Pod) bool {
	if !d.closed && !d.doubt() || d.worthless(p) || d.pressing(p, pod) {
		return true
	}
	at, known := p.endsIn(pod, d.policy.patience(p.shortestWindow()))
	if known && !d.observed.Now.Before(at) {
		return true
	}
	if known {
		d.wakeAt(at)
	}
	return false
}

// doubt reports whether some pod was asked for what is published and was not seen to use it.
func (d *decision) doubt() bool {
	for i := range d.observed.Parties {
		if askedPod(&d.observed.Parties[i], "") != "" {
			return true
		}
	}
	return false
}

// worthless reports whether everything that a party could have presented before is refused by everybody: an authority has
// expired with all that it issued. Then nothing is lost by asking a pod that cannot even be asked what it uses, for it can
// neither show a certificate nor accept ours.
func (d *decision) worthless(p *Party) bool {
	for _, domain := range Domains() {
		if l := d.active.of(domain); l != nil && l.recovers && p.wants(domain) {
			return true
		}
	}
	return false
}

// settle brings the pods of a party to its published material, one after the other.
func (d *decision) settle(p *Party) {
	for i := range p.Pods {
		pod := &p.Pods[i]
		if settled(p, pod) {
			continue
		}
		switch {
		case !p.sound():
		case pod.Report != nil && pod.Report.pending() && pod.Report.Active == p.Material.Revision:
			d.withdraw(p, pod)
		case pod.Report != nil && pod.Report.Active == p.Material.Revision:
			d.prove(p, pod) // a look harms nobody and needs no gate
		case pod.Asked == p.Material.Revision:
			d.await(p, pod)
		case d.trusted(p) && d.open(p, pod):
			d.activate(p, pod)
		}
		d.closed = true
	}
}

// trusted reports whether every leaf of a party was signed by an authority that every verifier holds already: what
// nobody is known to trust is not activated.
func (d *decision) trusted(p *Party) bool {
	for i := range p.Material.Leaves {
		l := d.active.of(p.Material.Leaves[i].Domain)
		if l == nil || l.signer == nil && l.next == nil {
			return false
		}
		if issuer, _ := l.issuer(&p.Material.Leaves[i]); issuer == nil || issuer == l.next {
			return false
		}
	}
	return true
}

// settled reports whether a pod is known and seen to use its party's material.
func settled(p *Party, pod *Pod) bool {
	return pod.Report != nil && pod.Report.Active == p.Material.Revision && !pod.Report.pending() && seen(p, pod)
}

// seen reports whether the operator's last look at each port of a pod showed its party's material.
func seen(p *Party, pod *Pod) bool {
	for i := range pod.Proofs {
		proof := &pod.Proofs[i]
		if proof.Revision != p.Material.Revision || proof.Fingerprint == "" || proof.Fingerprint != p.Served(proof) {
			return false
		}
	}
	return len(pod.Proofs) > 0
}

// askedPod returns a pod of a party, other than one, that was asked for what is
// published and was never seen to use it, or "". One that was seen and has become
// unreachable is not in doubt.
func askedPod(p *Party, other string) string {
	if p.Material.State != Present {
		return ""
	}
	for i := range p.Pods {
		if pod := &p.Pods[i]; pod.Asked == p.Material.Revision && pod.Name != other && !seen(p, pod) {
			return pod.Name
		}
	}
	return ""
}

// activate asks a pod to use its party's material.
func (d *decision) activate(p *Party, pod *Pod) {
	if pod.Report == nil && !d.worthless(p) {
		d.unreachable(pod)
		return
	}
	d.ask(Step{Op: Activate, Party: p.Name, Pod: pod.Name, Revision: p.Material.Revision, Reason: ReasonPublished})
}

// withdraw waits for a pod that uses what is published, and still holds what was published in between: asked for it long ago,
// it may take it yet.
func (d *decision) withdraw(p *Party, pod *Pod) {
	switch {
	case pod.Asked != p.Material.Revision && d.trusted(p) && d.open(p, pod):
		d.activate(p, pod)
	case pod.Asked == p.Material.Revision && d.nudge(p, pod):
	default:
		d.block(pod.Name, AwaitingActivation, "pod %s uses revision %s and still holds revision %s, which is published no more",
			pod.Name, p.Material.Revision, pod.Report.Mounted)
	}
}

// nudge tells a kubelet that has looked a moment too early to look again, when it is time to.
func (d *decision) nudge(p *Party, pod *Pod) bool {
	if pod.Report == nil || pod.Report.delivered(p.Material.Revision) || pod.NudgeAt.IsZero() {
		return false
	}
	if d.observed.Now.Before(pod.NudgeAt) {
		d.wakeAt(pod.NudgeAt)
		return false
	}
	d.ask(Step{Op: Nudge, Party: p.Name, Pod: pod.Name, Revision: p.Material.Revision, Reason: ReasonUndelivered})
	return true
}

// await says why a pod that was asked does not use its party's material yet. A
// kubelet that has looked a moment too early is told to look again: by itself it
// would take a minute or more.
func (d *decision) await(p *Party, pod *Pod) {
	switch {
	case d.nudge(p, pod):
	case pod.Report == nil:
		d.unreachable(pod)
	case pod.Report.ProblemReason != "":
		d.block(pod.Name, AgentRefused, "%s: %s", pod.Report.ProblemReason, pod.Report.ProblemMessage)
	default:
		d.block(pod.Name, AwaitingActivation, "pod %s was asked to use revision %s and still uses %s", pod.Name, p.Material.Revision, pod.Report.Active)
	}
}

func (d *decision) unreachable(pod *Pod) {
	d.block(pod.Name, AgentUnreachable, "the agent of pod %s gives no report: see the pod's state and its container agent", pod.Name)
}

// prove handshakes with a pod, or says what the last handshake showed.
func (d *decision) prove(p *Party, pod *Pod) {
	unproven := len(pod.Proofs) == 0
	for _, proof := range pod.Proofs {
		unproven = unproven || proof.Revision != p.Material.Revision
	}
	if unproven {
		d.ask(Step{Op: Prove, Party: p.Name, Pod: pod.Name, Revision: p.Material.Revision, Reason: ReasonUnproven})
		return
	}
	for i := range pod.Proofs {
		proof := &pod.Proofs[i]
		switch {
		case proof.Fingerprint == "":
			d.block(pod.Name, NotProven, "port %s of pod %s could not be proven: %s", proof.Port, pod.Name, proof.Problem)
		case proof.Fingerprint != p.Served(proof):
			d.block(pod.Name, StillServingOld, "port %s of pod %s serves another leaf than the published one although its agent reports it", proof.Port, pod.Name)
		}
	}
}

// need is why and how a party's material is to be written.
type need struct {
	reason  Reason
	reissue []Domain // valid until the next party's
	adopt   []Domain // where a custom certificate is presented from then on
	own     []Domain // where the own leaf is, in place of a custom certificate
	canWait bool     // for its turn

	relisted bool // revocation lists are written that were never written before
}

// sound reports whether every wanted leaf is there and usable, and the bundles too.
func (p *Party) sound() bool {
	if p.Material.State != Present || p.Material.Altered {
		return false
	}
	for i := range p.Wants {
		if l := p.material(p.Wants[i].Domain); l == nil || l.Problem != "" {
			return false
		}
	}
	for i := range p.Material.Customs {
		if p.Material.Customs[i].Problem != "" {
			return false
		}
	}
	return len(p.Material.Anchors.Server) > 0 && (len(p.Material.Anchors.Client) > 0 || !p.verifies(Client))
}

// need compares what a party has with what it is to have.
func (d *decision) need(p *Party) need {
	n := need{canWait: true, reissue: d.reissue[:0]}
	if p.Material.State == Missing || p.Material.Altered {
		n.reason, n.canWait = ReasonDamaged, false
		if p.Material.State == Missing {
			n.reason = ReasonMissing
		}
	}
	for i := range p.Wants {
		d.needLeaf(&n, p, &p.Wants[i])
	}
	if len(p.Customs) > 0 || len(p.Material.Customs) > 0 {
		d.needCustom(&n, p, Server)
		d.needCustom(&n, p, Client)
	}
	if !d.trustCurrent(p) {
		n.canWait = false
		if n.reason == "" {
			n.reason = ReasonTrustChanged
		}
	}
	if !d.revocationCurrent(p) {
		n.canWait, n.relisted = false, p.Kind == Instance && n.reason == ""
		if n.reason == "" {
			n.reason = ReasonRevoked
		}
	}
	if n.reason == "" && !d.chainsCurrent(p) {
		n.reason = ReasonChainChanged
	}
	return n
}

// needLeaf adds to n what one leaf needs.
func (d *decision) needLeaf(n *need, p *Party, w *LeafWant) {
	leaf := p.material(w.Domain)
	reason, canWait := d.reissueReason(p, w, leaf)
	switch {
	case reason == "":
		d.leafInTime(p, w, leaf)
		return
	case canWait && d.postpone(p, w, leaf, reason):
		return
	}
	n.reissue = append(n.reissue, w.Domain)
	n.canWait = n.canWait && canWait
	if n.reason == "" {
		n.reason = reason
	}
}

// reissueReason says why a leaf (nil: there is none) is to be issued anew, "" if it is not, and whether it can wait for its turn.
func (d *decision) reissueReason(p *Party, w *LeafWant, leaf *Leaf) (reason Reason, canWait bool) {
	l := d.active.of(w.Domain)
	if l == nil || l.signer == nil {
		return "", true // what there is is kept
	}
	signer := l.signer
	switch {
	case p.Material.State == Missing:
		return ReasonMissing, false
	case leaf == nil:
		return ReasonDamaged, false
	case leaf.Problem == string(pki.Expired):
		return ReasonDue, false
	case d.observed.Now.Before(leaf.NotBefore):
		return ReasonNotYetValid, false
	case d.revoked.serials[leaf.Serial]:
		return ReasonRevoked, false
	}
	issuer, _ := l.issuer(leaf)
	switch {
	case leaf.Problem != "" || issuer == signer && leaf.NotAfter.After(signer.Certificate.NotAfter):
		return ReasonDamaged, false
	case !within(w.DNSNames, leaf.DNSNames) || !within(w.IPs, leaf.IPs) || !w.names(leaf.Subject):
		return ReasonNamesChanged, false
	case issuer != signer:
		// Of an authority that is trusted everywhere it waits for its turn; of any other, nobody trusts it, and a pod that restarts would serve it.
		return ReasonIssuerNotActive, issuer != nil
	case leaf.Algorithm != w.Algorithm:
		return ReasonKeyAlgorithmChanged, true
	case d.policy.RenewRequest != "" && d.policy.RenewRequest != p.Material.Answered:
		return ReasonRequested, true
	}
	return d.due(p, w, leaf, signer), true
}

// due returns ReasonDue once the renewal time of a leaf has come.
func (d *decision) due(p *Party, w *LeafWant, leaf *Leaf, signer *Authority) Reason {
	earliest := leaf.NotAfter.Add(-w.RenewBefore - w.RenewBefore/10 - time.Second) // jitter is below a tenth
	if d.observed.Now.Before(earliest) && !d.renewal.IsZero() && !earliest.Before(d.renewal) {
		return "" // not before somebody else's, which is noted
	}
	if d.observed.Now.Before(leaf.NotAfter.Add(-w.RenewBefore)) { // the exact time takes a hash, and is never after this one
		at := pki.RenewalTime(leaf.NotBefore, leaf.NotAfter, w.RenewBefore, p.Name, "/", string(w.Domain))
		if d.observed.Now.Before(at) {
			d.renewAt(at)
			return ""
		}
	}
	if !leaf.NotAfter.Before(signer.Certificate.NotAfter) {
		d.block(p.Name, AuthorityEnding, "the %s leaf of %s ends with its authority on %s and cannot be renewed before the authority is",
			w.Domain, p.Name, leaf.NotAfter.Format(time.RFC3339))
		return ""
	}
	return ReasonDue
}

// trustCurrent reports whether both bundles hold what they should.
func (d *decision) trustCurrent(p *Party) bool {
	for _, domain := range Domains() {
		if anchors := d.active.anchors(domain); p.verifies(domain) && anchors != nil && !slices.Equal(p.Material.Anchors.Of(domain), anchors) {
			return false
		}
	}
	return true
}

// chainsCurrent reports whether the right bridges are presented with each leaf.
func (d *decision) chainsCurrent(p *Party) bool {
	for i := range p.Material.Leaves {
		leaf := &p.Material.Leaves[i]
		l := d.active.of(leaf.Domain)
		if l == nil || leaf.Problem != "" {
			continue
		}
		if issuer, chain := l.issuer(leaf); issuer != nil && !slices.Equal(leaf.Chain, chain) {
			return false
		}
	}
	return true
}

// within reports whether every one of want is in have; both are sorted.
func within(want, have []string) bool {
	i := 0
	for _, w := range want {
		for i < len(have) && have[i] != w {
			i++
		}
		if i == len(have) {
			return false
		}
	}
	return true
}
