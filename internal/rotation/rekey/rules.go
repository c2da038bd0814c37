package rekey

import (
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/revocation"
)

// Guard is a named condition of a transition.
type Guard struct {
	Name string
	// Phase of the re-key while this guard is closed; "": as without it.
	Phase plan.Phase
	Open  func(*Case) plan.Gate
}

// Case is what a guard is asked about.
type Case struct {
	Policy     *facts.Policy
	Observed   *facts.Observed
	Revocation *revocation.State
	Sets       *Sets
	Set        *CASet
	// Subject is the authority that the transition is about: the new one of SwitchSigner, the old one of DropOld, DiscardAuthority
	// and RollBack, the active one that TrustNew is to replace.
	Subject *facts.Authority
	// Reason of TrustNew.
	Reason reason.Code
	// Pending: the other domain is about to take a transition.
	Pending bool
}

// ChainRule adds at most one bridge to what is presented behind the leaves of an authority; last is the one before it.
type ChainRule struct {
	Name   string
	Bridge func(a *facts.Authority, last facts.Bridge, live []*facts.Authority) facts.Bridge
}

// Rules are the conditions of every transition. The tests leave out one at a time and must see a client refused.
type Rules struct {
	Activation       []Guard // of a new authority
	TrustNew         []Guard
	SwitchSigner     []Guard
	RollBack         []Guard
	DropOld          []Guard
	DiscardAuthority []Guard
	Chain            []ChainRule
}

// Standard are the rules of the product. docs/rotation.md has them as a table.
func Standard() *Rules {
	return &Rules{
		Activation: []Guard{
			{Name: "it was switched to", Open: switched},
		},
		TrustNew: []Guard{
			{Name: "the last re-key was not rolled back, unless a new one is asked for", Open: notRolledBack},
			{Name: "the other domain is not being re-keyed", Open: otherDomainRests},
		},
		SwitchSigner: []Guard{
			{Name: "the clients' ConfigMap holds the new authority", Open: clientsTrust},
			{Name: "all material holds the new authority", Open: materialTrusts},
			{Name: "every pod has loaded the new authority", Open: podsTrust},
			{Name: "clients had the time to take the new authority where nothing vouches for it", Open: propagated},
		},
		RollBack: []Guard{
			{Name: "the old authority is still trusted", Open: stillTrusted},
			{Name: "no bundle and no pod is known to lack the old authority", Open: noneLacks},
		},
		DropOld: []Guard{
			{Name: "every published leaf is of the active authority", Open: reissued},
			{Name: "every pod is settled", Open: podsSettled},
			{Name: "no pod on its way out uses the old authority", Open: noLeftovers},
			{Name: "no session came in with a certificate of the old authority", Open: noSessions},
			{Name: "no application holds a certificate of the old authority", Phase: plan.Soaking, Open: noneOutstanding},
			{Name: "the soak is over, or a person approved", Phase: plan.Soaking, Open: soaked},
		},
		DiscardAuthority: []Guard{
			{Name: "the clients' ConfigMap does not hold it", Open: clientsForget},
			{Name: "no material holds it", Open: materialForgets},
			{Name: "no pod has loaded it", Open: podsForget},
		},
		Chain: []ChainRule{
			{Name: "the bridge from the authority before", Bridge: forward},
			{Name: "the bridge from the authority before that", Bridge: older},
			{Name: "the bridge back, where no older authority vouches", Bridge: backward},
		},
	}
}

// open reports whether all guards are.
func open(guards []Guard, c *Case) bool {
	for i := range guards {
		if guards[i].Open(c).Closed {
			return false
		}
	}
	return true
}

// first returns the gate of the guards up to the first that is closed, and its phase.
func first(guards []Guard, c *Case) (gate plan.Gate, phase plan.Phase) {
	for i := range guards {
		if gate = gate.And(guards[i].Open(c)); gate.Closed {
			return gate, guards[i].Phase
		}
	}
	return gate, ""
}

// forward is an authority's own bridge: it leads a verifier that knows only the generation before.
func forward(a *facts.Authority, last facts.Bridge, _ []*facts.Authority) facts.Bridge {
	if last.Fingerprint != "" {
		return facts.Bridge{}
	}
	return a.Forward
}

// older leads on to the generation before that.
func older(a *facts.Authority, last facts.Bridge, _ []*facts.Authority) facts.Bridge {
	if last.Fingerprint == "" || last != a.Forward || a.Older.KeyID != a.Forward.IssuerKeyID {
		return facts.Bridge{}
	}
	return a.Older
}

// backward is how the newest other generation vouches for one that no older one vouches for.
func backward(a *facts.Authority, last facts.Bridge, live []*facts.Authority) facts.Bridge {
	if last.Fingerprint != "" {
		return facts.Bridge{}
	}
	for i := len(live) - 1; i >= 0; i-- {
		if b := live[i].Backward; b.Fingerprint != "" && b.KeyID == a.Certificate.KeyID {
			return b
		}
	}
	return facts.Bridge{}
}
