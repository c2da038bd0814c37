package rollout

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/external"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// need is why and how a party's material is to be written.
type need struct {
	reason  reason.Code
	reissue []facts.Domain // valid until the next party's
	adopt   []facts.Domain // where a custom certificate is presented from then on
	own     []facts.Domain // where the own leaf is, in place of a custom certificate
	canWait bool           // for its turn

	relisted bool // revocation lists are written that were never written before
}

// because sets the reason unless there is one that says more.
func (n *need) because(why reason.Code) {
	if n.reason == "" {
		n.reason = why
	}
}

// need compares what a party has with what it is to have.
func (r *rollout) need(p *facts.Party) need {
	n := need{canWait: true, reissue: r.reissue[:0]}
	if p.Material.State == facts.Missing || p.Material.Altered {
		n.reason, n.canWait = reason.Damaged, false
		if p.Material.State == facts.Missing {
			n.reason = reason.Missing
		}
	}
	for i := range p.Wants {
		r.needLeaf(&n, p, &p.Wants[i])
	}
	if len(p.Customs) > 0 || len(p.Material.Customs) > 0 {
		r.needCustom(&n, p, facts.Server)
		r.needCustom(&n, p, facts.Client)
	}
	if !r.trustCurrent(p) {
		n.canWait = false
		n.because(reason.TrustChanged)
	}
	if !r.Lists.Current(p) {
		n.canWait, n.relisted = false, p.Kind.AuthenticatesClients && n.reason == ""
		n.because(reason.Revoked)
	}
	if n.reason == "" && !r.chainsCurrent(p) {
		n.reason = reason.ChainChanged
	}
	return n
}

// needCustom adds to n that a party's process is to present something else.
func (r *rollout) needCustom(n *need, p *facts.Party, domain facts.Domain) {
	c := r.External.Needs(&external.Adopting{Policy: r.Policy, Observed: r.Observed, State: r.State, Sets: r.Sets, Party: p, Domain: domain})
	r.isOpen(c.Gate)
	if c.Adoption != nil && !slices.ContainsFunc(r.out.Adoptions, func(a plan.Adoption) bool { return a.Kind == p.Kind && a.Domain == domain }) {
		r.out.Adoptions = append(r.out.Adoptions, *c.Adoption)
	}
	n.canWait = n.canWait && !c.Urgent
	if c.Adopt {
		n.adopt = append(n.adopt, domain)
	}
	if c.Own {
		n.own = append(n.own, domain)
	}
	if c.Reason == reason.Damaged {
		n.reason = reason.Damaged
	} else if c.Reason != "" {
		n.because(c.Reason)
	}
}

// needLeaf adds to n what one leaf needs.
func (r *rollout) needLeaf(n *need, p *facts.Party, w *facts.LeafWant) {
	leaf := p.Leaf(w.Domain)
	why, canWait := r.reissueReason(p, w, leaf)
	switch {
	case why == "":
		if leaf != nil && r.Sets.Active(w.Domain) != nil {
			r.out.Waiting.InTime(r.Calendar, p.Name, leaf, w.RenewBefore)
		}
		return
	case canWait && r.postpone(p, w, leaf, why):
		return
	}
	n.reissue = append(n.reissue, w.Domain)
	n.canWait = n.canWait && canWait
	n.because(why)
}

// postpone reports whether a leaf that can wait for its turn does not even get one now.
func (r *rollout) postpone(p *facts.Party, w *facts.LeafWant, leaf *facts.Leaf, why reason.Code) bool {
	if !r.Policy.Restricted() || r.Policy.RenewRequest != "" && r.Policy.RenewRequest != p.Material.Answered {
		return false
	}
	underway := why == reason.IssuerNotActive
	if underway && r.Sets.Of(w.Domain).Urgent {
		return false
	}
	urgentAt := r.Policy.UrgentAt(leaf.NotAfter, w.RenewBefore)
	delay, wake := r.Calendar.Delay(underway, urgentAt)
	r.wakeAt(wake)
	if delay == "" {
		return false
	}
	r.out.Waiting.Add(r.Calendar, p.Name, w.Domain, delay, why, urgentAt)
	return true
}

// reissueReason says why a leaf (nil: there is none) is to be issued anew, "" if it is not, and whether it can wait for its turn.
func (r *rollout) reissueReason(p *facts.Party, w *facts.LeafWant, leaf *facts.Leaf) (why reason.Code, canWait bool) {
	s := r.Sets.Of(w.Domain)
	if s == nil || s.Active == nil {
		return "", true // what there is is kept
	}
	active := s.Active
	switch {
	case p.Material.State == facts.Missing:
		return reason.Missing, false
	case leaf == nil:
		return reason.Damaged, false
	case leaf.Problem == string(pki.Expired):
		return reason.Due, false
	case r.Observed.Now.Before(leaf.NotBefore):
		return reason.NotYetValid, false
	case r.State.Serials[leaf.Serial]:
		return reason.Revoked, false
	}
	issuer, _ := s.Issuer(leaf)
	switch {
	case leaf.Problem != "" || issuer == active && leaf.NotAfter.After(active.Certificate.NotAfter):
		return reason.Damaged, false
	case !facts.Within(w.DNSNames, leaf.DNSNames) || !facts.Within(w.IPs, leaf.IPs) || !w.Names(leaf.Subject):
		return reason.NamesChanged, false
	case issuer != active:
		// Of an authority that is trusted everywhere it waits for its turn; a leaf of any other is trusted by no verifier, and a pod that restarts would serve it.
		return reason.IssuerNotActive, issuer != nil
	case leaf.Algorithm != w.Algorithm:
		return reason.KeyAlgorithmChanged, true
	case r.Policy.RenewRequest != "" && r.Policy.RenewRequest != p.Material.Answered:
		return reason.Requested, true
	}
	return r.due(p, w, leaf, active), true
}

// due returns Due once the renewal time of a leaf has come.
func (r *rollout) due(p *facts.Party, w *facts.LeafWant, leaf *facts.Leaf, active *facts.Authority) reason.Code {
	now := r.Observed.Now
	earliest := leaf.NotAfter.Add(-w.RenewBefore - w.RenewBefore/10 - time.Second) // jitter is below a tenth
	if now.Before(earliest) && !r.out.Renewal.IsZero() && !earliest.Before(r.out.Renewal) {
		return "" // not before another leaf's, which is noted
	}
	if now.Before(leaf.NotAfter.Add(-w.RenewBefore)) { // the exact time takes a hash, and is never after this one
		at := pki.RenewalTime(leaf.NotBefore, leaf.NotAfter, w.RenewBefore, p.Name, "/", string(w.Domain))
		if now.Before(at) {
			r.renewAt(at)
			return ""
		}
	}
	if !leaf.NotAfter.Before(active.Certificate.NotAfter) {
		r.block(p.Name, reason.AuthorityEnding, "the %s leaf of %s ends with its authority on %s and cannot be renewed before the authority is",
			w.Domain, p.Name, leaf.NotAfter.Format(time.RFC3339))
		return ""
	}
	return reason.Due
}

// renewAt notes a time at which a leaf becomes due. What is not before that of another leaf changes nothing.
func (r *rollout) renewAt(t time.Time) {
	if r.out.Renewal.IsZero() || t.Before(r.out.Renewal) {
		r.out.Renewal = t
		r.wakeAt(t)
	}
}

// trustCurrent reports whether both bundles hold what they should.
func (r *rollout) trustCurrent(p *facts.Party) bool {
	for _, domain := range facts.Domains() {
		if anchors := r.Sets.Anchors(domain); p.Kind.Verifies(domain) && anchors != nil && !slices.Equal(p.Material.Anchors.Of(domain), anchors) {
			return false
		}
	}
	return true
}

// chainsCurrent reports whether the right bridges are presented with each leaf.
func (r *rollout) chainsCurrent(p *facts.Party) bool {
	for i := range p.Material.Leaves {
		leaf := &p.Material.Leaves[i]
		s := r.Sets.Of(leaf.Domain)
		if s == nil || leaf.Problem != "" {
			continue
		}
		if issuer, chain := s.Issuer(leaf); issuer != nil && !slices.Equal(leaf.Chain, chain) {
			return false
		}
	}
	return true
}
