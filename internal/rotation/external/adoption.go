package external

import (
	"fmt"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/rekey"
	"pgtls.dev/pgtls/internal/rotation/revocation"
)

// fallbackBefore bounds how long before the end of a custom certificate the own leaf takes its place: from then on no verifier
// that checks dates accepts the custom one, while a client that follows the ConfigMap accepts the own leaf.
const fallbackBefore = 10 * time.Minute

// endsFrom is when the own leaf takes the place of a custom certificate that was not renewed.
func endsFrom(c *facts.Custom) time.Time {
	return c.NotAfter.Add(-min(fallbackBefore, c.NotAfter.Sub(c.NotBefore)/12))
}

// urgentFrom is when a custom certificate is so near its end that its successor waits for no verifier that gives no answer.
func urgentFrom(c *facts.Custom) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 6)
}

// Adopting is one party's way to another certificate in one domain.
type Adopting struct {
	Policy   *facts.Policy
	Observed *facts.Observed
	State    *revocation.State
	Sets     *rekey.Sets
	Party    *facts.Party
	Domain   facts.Domain
	// Want is the custom certificate that the process is to present, Have the one that is published; nil: the own leaf.
	Want, Have *facts.Custom
}

// Need is what is to be published so that a process presents something else.
type Need struct {
	Reason reason.Code // "": nothing
	Adopt  bool        // the custom certificate that is wanted
	Own    bool        // the own leaf
	Urgent bool        // it waits for no other party
	// Adoption is under way, nil when none is.
	Adoption *plan.Adoption
	Gate     plan.Gate // blockers, and when the need changes by itself
}

// Needs says what a party's process is to present next in a domain, where that is not what it does.
func (r *Rules) Needs(a *Adopting) (n Need) {
	a.Want, a.Have = a.Party.Custom(a.Domain), a.Party.Material.Custom(a.Domain)
	if a.Want != nil {
		gate := a.ended(a.Want)
		if n.Gate = n.Gate.And(gate); gate.Closed {
			a.Want = nil
		}
	}
	damaged := a.Have != nil && a.Have.Problem != ""
	unusable := damaged || a.Have != nil && r.rejected(a)
	if !unusable && a.Want.ContentOf() == a.Have.ContentOf() {
		return n
	}
	n.Adoption = &plan.Adoption{Kind: a.Party.Kind, Domain: a.Domain, To: a.Want.ContentOf(), AffectedClients: a.affected()}
	if a.Have != nil {
		n.Urgent = unusable || !a.Observed.Now.Before(urgentFrom(a.Have))
		n.Gate = n.Gate.Until(a.later(urgentFrom(a.Have)))
	}
	to, gate := r.next(a, unusable)
	n.Gate = n.Gate.And(gate)
	switch {
	case to == a.Have && !unusable:
		n.Urgent = false
		return n
	case to != nil:
		n.Adopt = true
	default:
		n.Own = true
	}
	n.Reason = reason.CustomChanged
	if damaged {
		n.Reason = reason.Damaged
	}
	return n
}

// later returns an instant that is to come, zero when it is over.
func (a *Adopting) later(t time.Time) time.Time {
	if t.After(a.Observed.Now) {
		return t
	}
	return time.Time{}
}

// next is what a party presents next on its way to what is wanted: that, or still the same, or its own leaf (nil).
func (r *Rules) next(a *Adopting, unusable bool) (*facts.Custom, plan.Gate) {
	have := a.Have
	if unusable {
		have = nil
	}
	if a.Want == nil {
		return nil, plan.Gate{}
	}
	gate := r.presentable(a, have)
	if !gate.Closed {
		return a.Want, gate
	}
	if have != nil {
		over := a.ended(have)
		if gate = gate.And(over); !over.Closed {
			return have, gate // what is presented ends after its successor is trusted
		}
	}
	return nil, gate
}

// rejected reports whether a process is known to reject what is published for a party and some pod of it does not present yet.
// It was published while that process gave no answer, or because the user said that no verifier is to be waited for. No pod may be
// asked to present it, and one that waits behind that pod might be the one that rejects it.
func (r *Rules) rejected(a *Adopting) bool {
	p, have := a.Party, a.Have
	pending := slices.ContainsFunc(p.Pods, func(pod facts.Pod) bool { return pod.Report != nil && pod.Report.Active != p.Material.Revision })
	if !pending || a.Want != nil && a.Want.Immediate && a.Want.Content == have.Content || !r.asksPods() {
		return false
	}
	own := a.Sets.Anchors(have.Domain)
	for i := range a.Observed.Parties {
		other := &a.Observed.Parties[i]
		if other.Name == p.Name || other.Material.State == facts.Foreign {
			continue
		}
		for j := range other.Pods {
			report := other.Pods[j].Report
			if report != nil && facts.Intersect(report.Loaded.Of(have.Domain), own) && !facts.Intersect(report.Loaded.Of(have.Domain), have.Anchors) {
				return true
			}
		}
	}
	return false
}

// asksPods reports whether what pods have loaded is among the rules.
func (r *Rules) asksPods() bool {
	return slices.ContainsFunc(r.Trust, func(v Verifier) bool { return v.pods() })
}

// ended is closed when a custom certificate is over, or nearly.
func (a *Adopting) ended(c *facts.Custom) plan.Gate {
	at := endsFrom(c)
	if a.Observed.Now.Before(at) {
		return plan.Gate{}.Until(at)
	}
	b := plan.Block(a.Party.Name, reason.CustomEnded, "the custom %s certificate of %s ends at %s and there is no newer one: its own leaf takes its place; renew the certificate in its Secret",
		c.Domain, a.Party.Name, c.NotAfter.UTC().Format(time.RFC3339))
	b.Domain, b.Content = c.Domain, c.Content
	return plan.Shut(b)
}

// presentable is open when a custom certificate may be presented now: every verifier is known to accept it. One that gives no
// answer is not waited for when what is presented now is about to end, nor by a party that joins those that present it already.
func (r *Rules) presentable(a *Adopting, have *facts.Custom) plan.Gate {
	want := a.Want
	switch {
	case a.withheld():
		return plan.When(false) // which is said where the anchor is
	case want.Unapproved && !a.presentedElsewhere():
		b := plan.Block(a.Party.Name, reason.AwaitingApproval, "a custom %s certificate of a new issuer is there for %s: set the annotation pgtls.dev/adopt-approved to %s to have it presented (spec.tls.adoption)",
			want.Domain, a.Party.Name, want.Content)
		b.Domain, b.Content = want.Domain, want.Content
		return plan.Shut(b)
	case want.Immediate || a.neverServed() && a.neverHeard():
		return plan.Gate{}
	}
	if leads := have != nil && facts.Intersect(have.Anchors, want.Anchors); !leads && want.Domain == facts.Server && !a.presentedElsewhere() {
		for i := range r.Propagation {
			if gate := r.Propagation[i].Open(a); gate.Closed {
				return gate
			}
		}
	}
	return r.trusted(a, have)
}

func (r *Rules) trusted(a *Adopting, have *facts.Custom) plan.Gate {
	who, lacks := r.distrusts(a)
	var gate plan.Gate
	switch {
	case who == "":
		return plan.Gate{}
	case lacks:
	case a.presentedElsewhere() || have != nil && !a.Observed.Now.Before(urgentFrom(have)):
		return plan.Gate{}
	case have != nil:
		gate = gate.Until(urgentFrom(have))
	}
	return gate.And(plan.Shut(plan.Block(who, reason.TrustNotLoaded, "%s is not known to trust the issuer of the custom %s certificate of %s, which waits for it", who, a.Want.Domain, a.Party.Name)))
}

// withheld reports whether no verifier will hold an anchor of the wanted certificate before something changes.
func (a *Adopting) withheld() bool {
	held := false
	for i := range a.Observed.External {
		if anchor := &a.Observed.External[i]; anchor.Domain == a.Domain && slices.Contains(a.Want.Anchors, anchor.Fingerprint) {
			if !a.State.Withheld(a.Observed, anchor) {
				return false
			}
			held = true
		}
	}
	return held
}

// neverServed reports whether no party of the kind has anything to present yet, and no pod that runs: then no client knows it.
func (a *Adopting) neverServed() bool {
	return !slices.ContainsFunc(a.Observed.Parties, func(p facts.Party) bool {
		return p.Kind == a.Party.Kind && (p.Material.State != facts.Missing || len(p.Pods) > 0)
	})
}

// neverHeard reports whether no pod that runs, and no reader of the ConfigMap, was given a bundle without the issuer of the wanted
// certificate.
func (a *Adopting) neverHeard() bool {
	trust := &a.Observed.PublicTrust
	if a.Domain == facts.Server && trust.State == facts.Present && !facts.Intersect(trust.Anchors, a.Want.Anchors) {
		return false
	}
	for i := range a.Observed.Parties {
		for _, pod := range a.Observed.Parties[i].Pods {
			if pod.Report == nil || !facts.Intersect(pod.Report.Loaded.Of(a.Domain), a.Want.Anchors) {
				return false
			}
		}
	}
	return true
}

// propagated is open when clients that follow the ConfigMap have had the time to take an issuer that nothing leads them to. What
// they hold cannot be seen.
func propagated(a *Adopting) plan.Gate {
	var until time.Time // which may be zero: it is not known when the anchor was admitted, and so it was long ago
	known := false
	for i := range a.Observed.External {
		anchor := &a.Observed.External[i]
		if anchor.Domain != a.Domain || !anchor.Admitted || !slices.Contains(a.Want.Anchors, anchor.Fingerprint) {
			continue
		}
		if at := anchor.AdmittedAt.Add(a.Policy.TrustPropagationDelay); !known || at.Before(until) {
			until, known = at, true
		}
	}
	if at := a.Observed.PublicTrust.ChangedAt.Add(a.Policy.TrustPropagationDelay); at.After(until) {
		until = at // it was admitted long ago, and the ConfigMap could not be written before
	}
	switch {
	case !known:
		return plan.When(false) // it is being admitted
	case !a.Observed.Now.Before(until):
		return plan.Gate{}
	}
	return plan.Shut(plan.Block(a.Party.Name, reason.AwaitingTrustPropagation, "a custom certificate of a new issuer is there: clients that follow the ConfigMap are given until %s to take the issuer (spec.tls.trustPropagationDelay)",
		until.UTC().Format(time.RFC3339))).Until(until)
}

// presentedElsewhere reports whether another party of the same kind presents what is wanted.
func (a *Adopting) presentedElsewhere() bool {
	for i := range a.Observed.Parties {
		other := &a.Observed.Parties[i]
		if other.Name != a.Party.Name && other.Kind == a.Party.Kind && other.Material.Custom(a.Domain).ContentOf() == a.Want.Content {
			return true
		}
	}
	return false
}

// affected says which clients will refuse what is to be presented, as far as that can be known: at the first rollout none.
func (a *Adopting) affected() string {
	if a.Domain != facts.Server {
		return "" // what replicas present is verified by this cluster alone
	}
	from, to := anchorsOf(a.Sets, a.Party, a.Have), anchorsOf(a.Sets, a.Party, a.Want)
	if len(from) == 0 || facts.Intersect(from, to) {
		return ""
	}
	text := "clients that hold only the present issuer refuse the new one until they take what the ConfigMap holds"
	for i := range a.Observed.Parties {
		other := &a.Observed.Parties[i]
		for j := range other.Pods {
			if n := refusedOf(&other.Pods[j], a.Want); n > 0 && other.Kind == a.Party.Kind {
				text += fmt.Sprintf("; when pod %s served it, clients broke off %d handshakes", other.Pods[j].Name, n)
			}
		}
	}
	return text
}

// refusedOf counts the handshakes that clients broke off while a pod served the issuer of a custom certificate.
func refusedOf(pod *facts.Pod, c *facts.Custom) (count int) {
	if pod.Report == nil || c == nil {
		return 0
	}
	for _, r := range pod.Report.Refused {
		if r.IssuerKeyID == c.IssuerKeyID {
			count += r.Count
		}
	}
	return count
}
