package invariant

import (
	"fmt"
	"slices"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

func trustBeforeUse(o *facts.Observed, step plan.Step) string {
	switch s := step.(type) {
	case plan.SwitchSigner:
		return notHeld(o, s)
	case plan.Publish:
		return issuedTooEarly(o, s)
	case plan.Activate:
		return activatedTooEarly(o, s)
	}
	return ""
}

// notHeld names a verifier that is not known to hold an authority that is about to be active.
func notHeld(o *facts.Observed, s plan.SwitchSigner) string {
	a := o.Authority(s.Domain, s.Generation)
	if a == nil || a.Problem != "" {
		return fmt.Sprintf("the %s authority g%d cannot sign", s.Domain, s.Generation)
	}
	fingerprint := a.Certificate.Fingerprint
	for i := range o.Parties {
		p := &o.Parties[i]
		if p.Material.State == facts.Foreign || !p.Kind.Verifies(s.Domain) || mute(o, p, s.Domain) {
			continue
		}
		if !slices.Contains(p.Material.Anchors.Of(s.Domain), fingerprint) {
			return fmt.Sprintf("%s does not hold the new %s authority", p.Name, s.Domain)
		}
		for k := range p.Pods {
			if report := p.Pods[k].Report; report == nil || !slices.Contains(report.Loaded.Of(s.Domain), fingerprint) {
				return fmt.Sprintf("pod %s is not known to have loaded the new %s authority", p.Pods[k].Name, s.Domain)
			}
		}
	}
	if s.Domain == facts.Server && !slices.Contains(o.PublicTrust.Anchors, fingerprint) {
		return "the clients' ConfigMap does not hold the new server authority"
	}
	return ""
}

// mute reports whether a party wants a leaf, has none that can be used, and no authority that was active before can make one. For a
// party without pods an authority that no process accepts is none: nothing of it runs that would have to load the new one first.
func mute(o *facts.Observed, p *facts.Party, domain facts.Domain) bool {
	for i := range o.Authorities {
		a := &o.Authorities[i]
		wasActive := !a.SwitchedAt.IsZero() || a.Generation == 1
		if a.Domain == domain && a.Usable(o.Now) && wasActive && !(len(p.Pods) == 0 && acceptedByNone(o, a)) {
			return false
		}
	}
	leaf := p.Leaf(domain)
	return p.WantsLeaf(domain) && (leaf == nil || leaf.Problem != "")
}

// acceptedByNone reports whether processes report what they have loaded, and none of them this authority: it was dropped, and the
// note may have gone with the Secret of a newer one.
func acceptedByNone(o *facts.Observed, a *facts.Authority) bool {
	reporting := false
	for i := range o.Parties {
		for k := range o.Parties[i].Pods {
			report := o.Parties[i].Pods[k].Report
			if report == nil || len(report.Loaded.Of(a.Domain)) == 0 {
				continue
			}
			if slices.Contains(report.Loaded.Of(a.Domain), a.Certificate.Fingerprint) {
				return false
			}
			reporting = true
		}
	}
	return reporting
}

// issuedTooEarly names a process that is known to refuse what a party's material is about to hold: a pod that restarts presents it.
func issuedTooEarly(o *facts.Observed, s plan.Publish) string {
	for _, domain := range s.Reissue {
		a := o.Authority(domain, s.Active.Of(domain))
		if a == nil || !a.Usable(o.Now) {
			return fmt.Sprintf("the %s authority g%d cannot sign", domain, s.Active.Of(domain))
		}
		if isDropped(o, a) {
			return fmt.Sprintf("the %s authority g%d was dropped", domain, a.Generation)
		}
		accepted := leadsTo(o, domain, a.Certificate.KeyID, s.Chain.Of(domain))
		if pod := refusing(o, s.Party, domain, accepted); pod != "" {
			return fmt.Sprintf("pod %s has loaded nothing that accepts a %s leaf of g%d for %s", pod, domain, a.Generation, s.Party)
		}
	}
	return ""
}

// activatedTooEarly: a pod that is urgent, or of which every verifier refuses what it can present, waits for no Secret of another
// party, which no process may have loaded; MutualTrust says what processes have.
func activatedTooEarly(o *facts.Observed, s plan.Activate) string {
	p := o.Party(s.Party)
	if p == nil {
		return ""
	}
	for i := range p.Material.Leaves {
		l := &p.Material.Leaves[i]
		a := issuerOf(o, l.Domain, l.IssuerKeyID)
		if a == nil {
			return fmt.Sprintf("the authority of the %s leaf of %s is not known", l.Domain, p.Name)
		}
		if isDropped(o, a) {
			return fmt.Sprintf("the authority of the %s leaf of %s was dropped", l.Domain, p.Name)
		}
		for k := range o.Parties {
			m := &o.Parties[k].Material
			held := m.Anchors.Of(l.Domain)
			if held != nil && m.State != facts.Foreign && !slices.Contains(held, a.Certificate.Fingerprint) && !pressed(o, p, s.Pod) && !superseded(o, p) {
				return fmt.Sprintf("%s does not hold the authority of the %s leaf of %s", o.Parties[k].Name, l.Domain, p.Name)
			}
		}
	}
	return ""
}

// mutualTrust: whatever a pod is asked to present is accepted by every process that is known to verify it: it has loaded the
// authority of the leaf, or one that a presented bridge leads to.
func mutualTrust(o *facts.Observed, step plan.Step) string {
	s, activates := step.(plan.Activate)
	p := o.Party(s.Party)
	if !activates || p == nil {
		return ""
	}
	if message := customsRefused(o, p); message != "" {
		return message
	}
	for i := range p.Material.Leaves {
		l := &p.Material.Leaves[i]
		if pod := refusing(o, p.Name, l.Domain, leadsTo(o, l.Domain, l.IssuerKeyID, l.Chain)); pod != "" {
			return fmt.Sprintf("pod %s has loaded nothing that accepts the %s leaf of %s", pod, l.Domain, p.Name)
		}
	}
	return ""
}

// refusing returns a pod, of another party, whose processes are known to have loaded none of some anchors; "" when there is none.
// A pod of which nothing is known, or that accepts no leaf of the cluster as it is, is named where it is waited for.
func refusing(o *facts.Observed, party string, domain facts.Domain, accepted []string) string {
	own := known(o, domain)
	for i := range o.Parties {
		if o.Parties[i].Name == party {
			continue // a party does not verify itself
		}
		for k := range o.Parties[i].Pods {
			pod := &o.Parties[i].Pods[k]
			if pod.Report == nil || !facts.Intersect(pod.Report.Loaded.Of(domain), own) {
				continue
			}
			if !facts.Intersect(pod.Report.Loaded.Of(domain), accepted) {
				return pod.Name
			}
		}
	}
	return ""
}

// customsRefused names a process that is known to have loaded no anchor of a custom certificate that a party's material presents.
// A process that accepts no leaf of the cluster as it is, and one whose Secret is not the cluster's, is named where it is waited for.
func customsRefused(o *facts.Observed, p *facts.Party) string {
	for i := range p.Material.Customs {
		c := &p.Material.Customs[i]
		own := known(o, c.Domain)
		if want := p.Custom(c.Domain); want != nil && want.Immediate && want.Content == c.Content {
			continue // the user said that it waits for no verifier
		}
		for k := range o.Parties {
			if o.Parties[k].Name == p.Name || o.Parties[k].Material.State == facts.Foreign {
				continue
			}
			for j := range o.Parties[k].Pods {
				pod := &o.Parties[k].Pods[j]
				if pod.Report != nil && facts.Intersect(pod.Report.Loaded.Of(c.Domain), own) && !facts.Intersect(pod.Report.Loaded.Of(c.Domain), c.Anchors) {
					return fmt.Sprintf("pod %s has loaded nothing that accepts the custom %s certificate of %s", pod.Name, c.Domain, p.Name)
				}
			}
		}
	}
	return ""
}

// known are the fingerprints of all authorities of a domain that are known and that a verifier may still accept.
func known(o *facts.Observed, domain facts.Domain) (anchors []string) {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.Certificate.Fingerprint != "" && !a.Expired(o.Now) {
			anchors = append(anchors, a.Certificate.Fingerprint)
		}
	}
	return anchors
}

// leadsTo are the fingerprints of the authorities that a presented chain ends at, the leaf's own first.
func leadsTo(o *facts.Observed, domain facts.Domain, issuerKeyID string, chain []string) (anchors []string) {
	issuer := issuerOf(o, domain, issuerKeyID)
	if issuer == nil {
		return nil
	}
	anchors = append(anchors, issuer.Certificate.Fingerprint)
	if len(chain) == 0 {
		return anchors
	}
	for i := range o.Authorities {
		for _, b := range [...]facts.Bridge{o.Authorities[i].Forward, o.Authorities[i].Older, o.Authorities[i].Backward} {
			if !slices.Contains(chain, b.Fingerprint) || !o.Now.Before(b.NotAfter) {
				continue
			}
			if by := issuerOf(o, domain, b.IssuerKeyID); by != nil {
				anchors = append(anchors, by.Certificate.Fingerprint)
			}
		}
	}
	return anchors
}

// issuerOf returns the known authority with a key, or nil.
func issuerOf(o *facts.Observed, domain facts.Domain, keyID string) *facts.Authority {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.Certificate.KeyID == keyID {
			return a
		}
	}
	return nil
}

// isDropped reports whether an authority stands among those that were dropped from trust.
func isDropped(o *facts.Observed, a *facts.Authority) bool {
	for i := range o.Authorities {
		if b := &o.Authorities[i]; b.Domain == a.Domain && b.Generation != a.Generation && slices.Contains(b.Retired, a.Generation) {
			return true
		}
	}
	return false
}

func bundleCoversServed(o *facts.Observed, step plan.Step) string {
	switch s := step.(type) {
	case plan.PublishTrust:
		return uncovered(o, "the clients' ConfigMap", facts.Server, s.Anchors, o.PublicTrust.Anchors)
	case plan.Publish:
		p := o.Party(s.Party)
		if p == nil {
			return fmt.Sprintf("party %s is not known", s.Party)
		}
		for _, domain := range facts.Domains() {
			if wanted := s.Anchors.Of(domain); wanted != nil && p.Kind.Verifies(domain) {
				if message := uncovered(o, p.Name, domain, wanted, p.Material.Anchors.Of(domain)); message != "" {
					return message
				}
			}
		}
	}
	return ""
}

// uncovered says what a bundle that is about to be published lacks: an authority that issued something which is published and was
// not dropped, or an external anchor that is noted as trusted and that the bundle of now holds.
func uncovered(o *facts.Observed, whose string, domain facts.Domain, wanted, now []string) string {
	for i := range o.Authorities {
		a := &o.Authorities[i]
		if a.Domain != domain || a.Problem == reason.AuthorityForeign || a.Expired(o.Now) || isDropped(o, a) || lostAfter(o, a) || slices.Contains(wanted, a.Certificate.Fingerprint) {
			continue
		}
		for k := range o.Parties {
			if l := o.Parties[k].Leaf(domain); l != nil && l.IssuerKeyID == a.Certificate.KeyID {
				return fmt.Sprintf("the bundle for %s lacks the %s authority g%d, which issued the leaf of %s", whose, domain, a.Generation, o.Parties[k].Name)
			}
		}
	}
	for i := range o.External {
		a := &o.External[i]
		if a.Domain == domain && a.Admitted && o.Now.Before(a.NotAfter) && slices.Contains(now, a.Fingerprint) && !slices.Contains(wanted, a.Fingerprint) {
			return fmt.Sprintf("the bundle for %s lacks the external %s anchor %.12s, which is noted as trusted", whose, domain, a.Fingerprint)
		}
	}
	return ""
}

// lostAfter reports whether a newer authority of the domain is lost, and with it perhaps the note that this one was dropped.
func lostAfter(o *facts.Observed, a *facts.Authority) bool {
	for i := range o.Authorities {
		if b := &o.Authorities[i]; b.Domain == a.Domain && b.Generation > a.Generation && b.Problem == reason.AuthorityLost {
			return true
		}
	}
	return false
}

// rollBackToTrusted: what is active after a roll-back can sign, was not dropped, and every known bundle holds it.
func rollBackToTrusted(o *facts.Observed, step plan.Step) string {
	s, rollsBack := step.(plan.RollBack)
	if !rollsBack {
		return ""
	}
	from, to := o.Authority(s.Domain, s.Generation), o.Authority(s.Domain, s.To)
	switch {
	case from == nil:
		return fmt.Sprintf("the %s authority g%d is not known", s.Domain, s.Generation)
	case to == nil || !to.Usable(o.Now):
		return fmt.Sprintf("the %s authority g%d cannot sign", s.Domain, s.To)
	case isDropped(o, to):
		return fmt.Sprintf("the %s authority g%d was dropped", s.Domain, s.To)
	case from.SwitchedAt.IsZero():
		return "" // it was never active, and what is active stays so
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		if held := p.Material.Anchors.Of(s.Domain); p.Material.State == facts.Present && len(held) > 0 && facts.Intersect(held, known(o, s.Domain)) && !slices.Contains(held, to.Certificate.Fingerprint) {
			return fmt.Sprintf("%s does not hold the %s authority g%d", p.Name, s.Domain, s.To)
		}
		for k := range p.Pods {
			report := p.Pods[k].Report
			if p.Material.State == facts.Present && report != nil && facts.Intersect(report.Loaded.Of(s.Domain), known(o, s.Domain)) && !slices.Contains(report.Loaded.Of(s.Domain), to.Certificate.Fingerprint) {
				return fmt.Sprintf("pod %s has not loaded the %s authority g%d", p.Pods[k].Name, s.Domain, s.To)
			}
		}
	}
	return ""
}
