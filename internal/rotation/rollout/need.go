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

// needs compares what a party has with what it is to have.
type needs struct {
	*view
	*record
	need
	party *facts.Party
}

// work returns what the party needs. It notes what holds up a renewal, and when the next one is due.
func (n *needs) work() need {
	p := n.party
	if p.Material.State == facts.Missing || p.Material.Altered {
		n.reason, n.canWait = reason.Damaged, false
		if p.Material.State == facts.Missing {
			n.reason = reason.Missing
		}
	}
	for i := range p.Wants {
		n.leaf(&p.Wants[i])
	}
	if len(p.Customs) > 0 || len(p.Material.Customs) > 0 {
		n.custom(facts.Server)
		n.custom(facts.Client)
	}
	if !n.trustCurrent(p) {
		n.canWait = false
		n.because(reason.TrustChanged)
	}
	if !n.Lists.Current(p) {
		n.canWait, n.relisted = false, p.Kind.AuthenticatesClients && n.reason == ""
		n.because(reason.Revoked)
	}
	if n.reason == "" && !n.chainsCurrent(p) {
		n.reason = reason.ChainChanged
	}
	return n.need
}

// custom adds that a party's process is to present something else.
func (n *needs) custom(domain facts.Domain) {
	c := n.External.Needs(&external.Adopting{Policy: n.Policy, Observed: n.Observed, State: n.State, Sets: n.Sets, Party: n.party, Domain: domain})
	n.isOpen(c.Gate)
	if c.Adoption != nil && !slices.ContainsFunc(n.Adoptions, func(a plan.Adoption) bool { return a.Kind == n.party.Kind && a.Domain == domain }) {
		n.Adoptions = append(n.Adoptions, *c.Adoption)
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

// leaf adds what one leaf needs.
func (n *needs) leaf(w *facts.LeafWant) {
	leaf := n.party.Leaf(w.Domain)
	why, canWait := n.reissueReason(w, leaf)
	switch {
	case why == "":
		if leaf != nil && n.Sets.Active(w.Domain) != nil {
			n.Waiting.InTime(n.Calendar, n.party.Name, leaf, w.RenewBefore)
		}
		return
	case canWait && n.postpone(w, leaf, why):
		return
	}
	n.reissue = append(n.reissue, w.Domain)
	n.canWait = n.canWait && canWait
	n.because(why)
}

// postpone reports whether a leaf that can wait for its turn does not even get one now.
func (n *needs) postpone(w *facts.LeafWant, leaf *facts.Leaf, why reason.Code) bool {
	if !n.Policy.Restricted() || n.Policy.RenewRequest != "" && n.Policy.RenewRequest != n.party.Material.Answered {
		return false
	}
	underway := why == reason.IssuerNotActive
	if underway && n.Sets.Of(w.Domain).Urgent {
		return false
	}
	urgentAt := n.Policy.UrgentAt(leaf.NotAfter, w.RenewBefore)
	delay, wake := n.Calendar.Delay(underway, urgentAt)
	n.wakeAt(wake)
	if delay == "" {
		return false
	}
	n.Waiting.Add(n.Calendar, n.party.Name, w.Domain, delay, why, urgentAt)
	return true
}

// reissueReason says why a leaf (nil: there is none) is to be issued anew, "" if it is not, and whether it can wait for its turn.
func (n *needs) reissueReason(w *facts.LeafWant, leaf *facts.Leaf) (why reason.Code, canWait bool) {
	s := n.Sets.Of(w.Domain)
	if s == nil || s.Active == nil {
		return "", true // what there is is kept
	}
	active := s.Active
	switch {
	case n.party.Material.State == facts.Missing:
		return reason.Missing, false
	case leaf == nil:
		return reason.Damaged, false
	case leaf.Problem == string(pki.Expired):
		return reason.Due, false
	case n.Observed.Now.Before(leaf.NotBefore):
		return reason.NotYetValid, false
	case n.State.Serials[leaf.Serial]:
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
	case n.Policy.RenewRequest != "" && n.Policy.RenewRequest != n.party.Material.Answered:
		return reason.Requested, true
	}
	return n.due(w, leaf, active), true
}

// due returns Due once the renewal time of a leaf has come.
func (n *needs) due(w *facts.LeafWant, leaf *facts.Leaf, active *facts.Authority) reason.Code {
	now := n.Observed.Now
	earliest := leaf.NotAfter.Add(-w.RenewBefore - w.RenewBefore/10 - time.Second) // jitter is below a tenth
	if now.Before(earliest) && !n.Renewal.IsZero() && !earliest.Before(n.Renewal) {
		return "" // not before another leaf's, which is noted
	}
	if now.Before(leaf.NotAfter.Add(-w.RenewBefore)) { // the exact time takes a hash, and is never after this one
		at := pki.RenewalTime(leaf.NotBefore, leaf.NotAfter, w.RenewBefore, n.party.Name, "/", string(w.Domain))
		if now.Before(at) {
			n.renewAt(at)
			return ""
		}
	}
	if !leaf.NotAfter.Before(active.Certificate.NotAfter) {
		n.block(n.party.Name, reason.AuthorityEnding, "the %s leaf of %s ends with its authority on %s and cannot be renewed before the authority is",
			w.Domain, n.party.Name, leaf.NotAfter.Format(time.RFC3339))
		return ""
	}
	return reason.Due
}
