package rekey

import (
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
	"pgtls.dev/pgtls/internal/rotation/served"
)

// CASet is what the stored generations of a domain come to. It is derived anew from every observation.
type CASet struct {
	Domain   facts.Domain
	Active   *facts.Authority   // signs leaves; nil: none can
	Next     *facts.Authority   // to be trusted everywhere before it is active; nil: no re-key is being prepared
	Retiring []*facts.Authority // older ones and rolled-back ones: trusted until nothing uses them, oldest first
	Retired  []*facts.Authority // no longer to be trusted, and their Secrets are still there
	// Issuers are all that are to be trusted, by generation, and Chains the fingerprints of the bridges to be presented behind a
	// leaf of each.
	Issuers []*facts.Authority
	Chains  [][]string
	// IssuersExpired: all other generations have expired, so that every verifier refuses what a pod presents of them.
	IssuersExpired bool
	// Urgent: the re-key that is under way waits for no window.
	Urgent bool
	// Waits: the next transition waits for a window, or for the end of a pause.
	Waits bool

	anchors []string // fingerprints of all that are to be trusted, sorted
	highest int      // generation that was ever heard of
	lost    bool     // a generation is in use of which nothing is known
	wake    time.Time
}

// Sets are those of both domains; nil where the policy manages none.
type Sets struct{ Server, Client *CASet }

// Of returns the set of a domain, nil where the policy manages none.
func (s *Sets) Of(domain facts.Domain) *CASet {
	if domain == facts.Server {
		return s.Server
	}
	return s.Client
}

func (s *Sets) all() []*CASet {
	var all []*CASet
	for _, set := range [...]*CASet{s.Server, s.Client} {
		if set != nil {
			all = append(all, set)
		}
	}
	return all
}

// Active returns the authority that signs leaves of a domain; nil: none can.
func (s *Sets) Active(domain facts.Domain) *facts.Authority {
	if set := s.Of(domain); set != nil {
		return set.Active
	}
	return nil
}

// Anchors returns what every bundle of a domain is to hold, sorted; nil: what it holds is to be kept.
func (s *Sets) Anchors(domain facts.Domain) []string {
	if set := s.Of(domain); set != nil && (set.Active != nil || set.Next != nil) {
		return set.anchors
	}
	return nil
}

// Resting are the active authorities that are not being re-keyed and whose next re-key does not wait.
func (s *Sets) Resting() (resting []*facts.Authority) {
	for _, set := range s.all() {
		if set.Active != nil && !set.Rekeying() && !set.Waits {
			resting = append(resting, set.Active)
		}
	}
	return resting
}

// Rekeying reports whether more than one generation is there to be dealt with.
func (s *CASet) Rekeying() bool { return s.Next != nil || len(s.Retiring) > 0 || len(s.Retired) > 0 }

// Issuer returns the authority to be trusted that signed a leaf, and the bridges that go with the leaf; nil: none.
func (s *CASet) Issuer(leaf *facts.Leaf) (*facts.Authority, []string) {
	for i, a := range s.Issuers {
		if a.Certificate.KeyID == leaf.IssuerKeyID {
			return a, s.Chains[i]
		}
	}
	return nil, nil
}

// ChainOf returns the bridges that go with a leaf of an authority.
func (s *CASet) ChainOf(a *facts.Authority) []string {
	for i, issuer := range s.Issuers {
		if issuer == a {
			return s.Chains[i]
		}
	}
	return nil
}

// HasNoUsableLeaf reports whether a party has nothing to present in a domain and no authority could issue it something: its
// material cannot be written before the new authority is active, and so is not waited for.
func (s *CASet) HasNoUsableLeaf(p *facts.Party) bool {
	leaf := p.Leaf(s.Domain)
	return s.Active == nil && p.WantsLeaf(s.Domain) && (leaf == nil || leaf.Problem != "")
}

// Derive sorts the generations of each domain into their roles. external are the external trust anchors that bundles are to hold.
func (r *Rules) Derive(policy *facts.Policy, o *facts.Observed, external plan.PerDomain[[]string]) *Sets {
	sets := &Sets{}
	for _, domain := range facts.Domains() {
		if _, managed := policy.Authorities[domain]; !managed {
			continue
		}
		set := r.derive(policy, o, domain, external.Of(domain))
		if domain == facts.Server {
			sets.Server = set
		} else {
			sets.Client = set
		}
	}
	return sets
}

func (r *Rules) derive(policy *facts.Policy, o *facts.Observed, domain facts.Domain, external []string) *CASet {
	s := &CASet{Domain: domain}
	live := s.sort(o)
	if s.lost {
		return s // the issuer of what is in use is not known, and so none is active
	}
	slices.SortFunc(live, func(a, b *facts.Authority) int { return a.Generation - b.Generation })
	r.assignRoles(s, policy, o, live)
	for _, a := range live {
		if s.Active == nil || a == s.Active || !needless(policy, o, a) {
			s.anchors = append(s.anchors, a.Certificate.Fingerprint)
		}
		if a != s.Active { // its role is another when it can sign, and when it no longer can
			s.wakeAt(o.Now, a.Certificate.NotBefore)
			s.wakeAt(o.Now, a.Certificate.NotAfter)
		}
	}
	s.anchors = append(s.anchors, external...)
	slices.Sort(s.anchors)
	r.chains(s, policy, o, live)
	return s
}

func (s *CASet) wakeAt(now, t time.Time) {
	if t.After(now) {
		s.wake = plan.Sooner(s.wake, t)
	}
}

// sort finds the generations that are to be trusted among those of a domain.
func (s *CASet) sort(o *facts.Observed) (live []*facts.Authority) {
	seen := o.GenerationSeen[s.Domain]
	s.highest, s.lost = seen, seen > 0
	for i := range o.Authorities {
		a := &o.Authorities[i]
		if a.Domain != s.Domain {
			continue
		}
		s.lost = s.lost && a.Generation != seen && !slices.Contains(a.Retired, seen)
		s.highest = max(s.highest, a.Generation, a.RolledBack)
		for _, g := range a.Retired {
			s.highest = max(s.highest, g)
		}
		switch {
		case a.Problem == reason.AuthorityForeign || a.Certificate.Fingerprint == "":
		case !retired(o, a) && !droppedOnEvidence(o, a):
			live = append(live, a)
		case a.Original.Present || a.Copy.Present:
			s.Retired = append(s.Retired, a)
		}
	}
	return live
}

// retired reports whether some generation has noted that this one was dropped.
func retired(o *facts.Observed, a *facts.Authority) bool {
	for i := range o.Authorities {
		if b := &o.Authorities[i]; b.Domain == a.Domain && b != a && slices.Contains(b.Retired, a.Generation) {
			return true
		}
	}
	return false
}

// droppedOnEvidence reports whether an authority was dropped although the note is lost: the Secret of a newer one is gone, every
// pod that reports has loaded the newer one, and none has loaded this one. So it is when an old backup brings back a generation
// that was retired: the newest evidence wins, and what was retired is not trusted again.
func droppedOnEvidence(o *facts.Observed, a *facts.Authority) bool {
	newer := slices.IndexFunc(o.Authorities, func(b facts.Authority) bool {
		return b.Domain == a.Domain && b.Generation > a.Generation && b.Problem == reason.AuthorityLost
	})
	if newer < 0 {
		return false
	}
	reporting := 0
	for i := range o.Parties {
		for j := range o.Parties[i].Pods {
			report := o.Parties[i].Pods[j].Report
			if report == nil || len(report.Loaded.Of(a.Domain)) == 0 {
				continue
			}
			reporting++
			if loaded := report.Loaded.Of(a.Domain); slices.Contains(loaded, a.Certificate.Fingerprint) || !slices.Contains(loaded, o.Authorities[newer].Certificate.Fingerprint) {
				return false
			}
		}
	}
	return reporting > 0
}

// assignRoles gives each generation that is to be trusted its role. The oldest is active until a newer one was switched to. One
// that has expired is refused by every verifier already, with all that it issued: the next one need not wait for anything.
func (r *Rules) assignRoles(s *CASet, policy *facts.Policy, o *facts.Observed, live []*facts.Authority) {
	oldest := true
	for _, a := range live {
		if rolledBack(a, live) {
			continue
		}
		switch {
		case !a.Usable(o.Now):
		case (oldest || open(r.Activation, &Case{Policy: policy, Observed: o, Set: s, Subject: a})) && !forgotten(o, a, live):
			s.Active, s.Next = a, nil
		default:
			s.Next = a
		}
		oldest = oldest && a.Expired(o.Now)
	}
	for _, a := range live {
		if a != s.Active && a != s.Next {
			s.Retiring = append(s.Retiring, a)
			s.IssuersExpired = s.Active != nil
		}
	}
	for _, a := range s.Retiring {
		s.IssuersExpired = s.IssuersExpired && a.Expired(o.Now)
	}
}

// rolledBack reports whether an authority was rolled back and an older one is there to be active in its place.
func rolledBack(a *facts.Authority, live []*facts.Authority) bool {
	return a.RollbackReason != "" && slices.ContainsFunc(live, func(b *facts.Authority) bool { return b.Generation < a.Generation })
}

// forgotten reports whether an authority may have been dropped from trust by another one whose Secret is lost, and the note
// with it. Then some bundle may lack it, and it is trusted anew before it is active. One whose leaves are published was not
// dropped.
func forgotten(o *facts.Observed, a *facts.Authority, live []*facts.Authority) bool {
	lost := slices.ContainsFunc(live, func(b *facts.Authority) bool { return b != a && b.Problem == reason.AuthorityLost })
	return lost && !publishes(o, a) && !heldByAll(o, a)
}

// publishes reports whether some leaf that is published was issued by an authority.
func publishes(o *facts.Observed, a *facts.Authority) bool {
	for i := range o.Parties {
		if leaf := o.Parties[i].Leaf(a.Domain); leaf != nil && leaf.IssuerKeyID == a.Certificate.KeyID {
			return true
		}
	}
	return false
}

// heldByAll reports whether an authority is in the clients' ConfigMap and in all material, and every pod uses that and says that it
// has loaded it. A party that has nothing to present is not waited for: its material cannot be written before an authority is active.
func heldByAll(o *facts.Observed, a *facts.Authority) bool {
	if trust := &o.PublicTrust; a.Domain == facts.Server && trust.State != facts.Foreign && !slices.Contains(trust.Anchors, a.Certificate.Fingerprint) {
		return false
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		leaf := p.Leaf(a.Domain)
		if p.Material.State == facts.Foreign || !p.Kind.Verifies(a.Domain) || p.WantsLeaf(a.Domain) && (leaf == nil || leaf.Problem != "") {
			continue
		}
		if !slices.Contains(p.Material.Anchors.Of(a.Domain), a.Certificate.Fingerprint) {
			return false
		}
		for j := range p.Pods {
			if pod := &p.Pods[j]; !served.Settled(p, pod) || !slices.Contains(pod.Report.Loaded.Of(a.Domain), a.Certificate.Fingerprint) {
				return false
			}
		}
	}
	return true
}

// needless reports whether a generation beside the active one is tainted or was rolled back, and no bundle holds it: then none is to
// take it for the time until it is dropped. What cannot be read may hold it.
func needless(policy *facts.Policy, o *facts.Observed, a *facts.Authority) bool {
	if a.RollbackReason == "" && policy.Rekey[a.Domain].Tainted != a.Generation {
		return false
	}
	if trust := &o.PublicTrust; a.Domain == facts.Server && (trust.State == facts.Unknown || slices.Contains(trust.Anchors, a.Certificate.Fingerprint)) {
		return false
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		leaf, bundle := p.Leaf(a.Domain), p.Material.Anchors.Of(a.Domain)
		if p.Material.State == facts.Unknown || slices.Contains(bundle, a.Certificate.Fingerprint) || leaf != nil && leaf.IssuerKeyID == a.Certificate.KeyID {
			return false
		}
	}
	return true
}

// chains works out what is presented behind the leaves of each generation, by the rules in their order.
func (r *Rules) chains(s *CASet, policy *facts.Policy, o *facts.Observed, live []*facts.Authority) {
	for _, a := range live {
		var chain []string
		var last facts.Bridge
		for i := range r.Chain {
			b := r.Chain[i].Bridge(a, last, live)
			if b.Fingerprint == "" || !o.Now.Before(b.Until()) || tainted(policy, o, s.Domain, b.IssuerKeyID) {
				continue // it is not there, or ends, or is the word of an authority that must not be trusted
			}
			s.wakeAt(o.Now, b.Until())
			chain, last = append(chain, b.Fingerprint), b
		}
		s.Issuers, s.Chains = append(s.Issuers, a), append(s.Chains, chain)
	}
}

// tainted reports whether a key is that of an authority which the user marked as compromised.
func tainted(policy *facts.Policy, o *facts.Observed, domain facts.Domain, keyID string) bool {
	generation := policy.Rekey[domain].Tainted
	if generation == 0 {
		return false
	}
	a := o.Authority(domain, generation)
	return a != nil && a.Certificate.KeyID == keyID
}
