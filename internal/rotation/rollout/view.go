package rollout

import (
	"slices"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/rekey"
	"pgtls.dev/pgtls/internal/rotation/revocation"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// view is what is known of all parties. It answers questions about one of them or its pod, and changes nothing.
type view struct {
	Input
	doubt bool // some pod was asked for what is published and was not seen to use it
	held  plan.PerDomain[bool]
}

func viewOf(in Input) view {
	return view{Input: in, doubt: anyInDoubt(in.Observed), held: bundlesHold(in.Observed, in.Sets)}
}

// bundlesHold reports for each domain whether every published bundle that can be read holds the active authority.
func bundlesHold(o *facts.Observed, sets *rekey.Sets) (held plan.PerDomain[bool]) {
	for _, domain := range facts.Domains() {
		holds := true
		if active := sets.Active(domain); active != nil {
			for i := range o.Parties {
				m := &o.Parties[i].Material
				bundle := m.Anchors.Of(domain)
				holds = holds && (bundle == nil || m.State == facts.Foreign || slices.Contains(bundle, active.Certificate.Fingerprint))
			}
		}
		held.Set(domain, holds)
	}
	return held
}

// anyInDoubt reports whether some pod was asked for what is published and was not seen to use it.
func anyInDoubt(o *facts.Observed) bool {
	for i := range o.Parties {
		if served.InDoubt(&o.Parties[i], "") != "" {
			return true
		}
	}
	return false
}

// gate of a pod: every earlier pod is settled (closed: one is not) and none anywhere is in doubt after being asked (the order changes
// with a failover), and every bundle that is published accepts what it is to present; or it cannot wait for that any longer.
func (v *view) gate(p *facts.Party, pod *facts.Pod, closed bool) plan.Gate {
	if v.issuersExpired(p) || !closed && !v.doubt && v.accepted(p) {
		return plan.Gate{}
	}
	revoked := revocation.Urgent(v.Observed, p, pod)
	if !revoked.Closed {
		return revoked
	}
	at, known := p.EndsIn(pod, v.Policy.Patience(p.ShortestWindow()))
	switch {
	case !known:
		return revoked
	case !v.Observed.Now.Before(at):
		return plan.Gate{}
	}
	return revoked.Until(at)
}

// urgent reports whether a pod passes the gate because it cannot wait.
func (v *view) urgent(p *facts.Party, pod *facts.Pod) bool {
	at, known := p.EndsIn(pod, v.Policy.Patience(p.ShortestWindow()))
	return known && !v.Observed.Now.Before(at) || !revocation.Urgent(v.Observed, p, pod).Closed || v.issuersExpired(p)
}

// accepted reports whether every published bundle holds the active authority of each domain that a party presents in, or the
// party's leaf is of another one, which is judged where that is.
func (v *view) accepted(p *facts.Party) bool {
	return (v.held.Server || !p.WantsLeaf(facts.Server)) && (v.held.Client || !p.WantsLeaf(facts.Client))
}

// trusted reports whether every leaf of a party was signed by an authority that every verifier holds already: what is not known
// to be trusted is not activated.
func (v *view) trusted(p *facts.Party) bool {
	for i := range p.Material.Leaves {
		s := v.Sets.Of(p.Material.Leaves[i].Domain)
		if s == nil || s.Active == nil && s.Next == nil {
			return false
		}
		if issuer, _ := s.Issuer(&p.Material.Leaves[i]); issuer == nil || issuer == s.Next {
			return false
		}
	}
	return true
}

// issuersExpired reports whether every verifier refuses all that a party could have presented before: an authority has
// expired with all that it issued. Then nothing is lost by asking a pod that cannot even be asked what it uses, for it can
// neither show a certificate nor accept the operator's.
func (v *view) issuersExpired(p *facts.Party) bool {
	for _, domain := range facts.Domains() {
		if s := v.Sets.Of(domain); s != nil && s.IssuersExpired && p.WantsLeaf(domain) {
			return true
		}
	}
	return false
}

// writable reports whether a party's material can be written: every leaf that it wants can be signed or be kept while a new
// authority is brought in, and the bundle of a domain without authority is there to be kept.
func (v *view) writable(p *facts.Party) bool {
	for _, domain := range facts.Domains() {
		s := v.Sets.Of(domain)
		switch {
		case s != nil && s.Active != nil:
		case s != nil && s.Next != nil:
			if leaf := p.Leaf(domain); p.WantsLeaf(domain) && (leaf == nil || leaf.Problem != "") {
				return false
			}
		case p.WantsLeaf(domain) || p.Kind.Verifies(domain) && len(p.Material.Anchors.Of(domain)) == 0:
			return false
		}
	}
	return true
}

// trustCurrent reports whether both bundles hold what they should.
func (v *view) trustCurrent(p *facts.Party) bool {
	for _, domain := range facts.Domains() {
		if anchors := v.Sets.Anchors(domain); p.Kind.Verifies(domain) && anchors != nil && !slices.Equal(p.Material.Anchors.Of(domain), anchors) {
			return false
		}
	}
	return true
}

// chainsCurrent reports whether the right bridges are presented with each leaf.
func (v *view) chainsCurrent(p *facts.Party) bool {
	for i := range p.Material.Leaves {
		leaf := &p.Material.Leaves[i]
		s := v.Sets.Of(leaf.Domain)
		if s == nil || leaf.Problem != "" {
			continue
		}
		if issuer, chain := s.Issuer(leaf); issuer != nil && !slices.Equal(leaf.Chain, chain) {
			return false
		}
	}
	return true
}

// material makes the step that publishes what a party needs.
func (v *view) material(p *facts.Party, n need) plan.Publish {
	step := plan.Publish{
		Party: p.Name, Reissue: n.reissue, Adopt: n.adopt, Own: n.own, Reason: n.reason,
	}
	if p.Kind.AuthenticatesClients {
		step.Lists, step.KeepLists = v.Lists.Wanted, v.Lists.Keep
	}
	for _, domain := range facts.Domains() {
		if p.Kind.Verifies(domain) {
			step.Anchors.Set(domain, v.Sets.Anchors(domain))
		}
	}
	for i := range p.Wants {
		v.contents(&step, p, p.Wants[i].Domain)
	}
	return step
}

// contents says which authority signs a leaf, and which bridges are presented behind it.
func (v *view) contents(step *plan.Publish, p *facts.Party, domain facts.Domain) {
	set := v.Sets.Of(domain)
	if set == nil {
		return
	}
	if slices.Contains(step.Reissue, domain) {
		step.Active.Set(domain, set.Active.Generation)
		step.Chain.Set(domain, set.ChainOf(set.Active))
	} else if leaf := p.Leaf(domain); leaf != nil {
		_, chain := set.Issuer(leaf)
		step.Chain.Set(domain, chain)
	}
}
