package rotation

import (
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// rekeyOracle is the second opinion on a re-key: which authority is active, what is trusted, which phase it is, and whether the old authority
// may be dropped. It walks over everything for each question, and shares no code with Next.
type rekeyOracle struct {
	policy facts.Policy
	o      facts.Observed
}

// standing is the answer for one domain.
type standing struct {
	Signer, Next int
	Anchors      []string
	Phase        plan.Phase
	DropOld      bool
}

func (r rekeyOracle) differs(planned plan.Plan) string {
	for _, domain := range facts.Domains() {
		sets := derive(r.policy, r.o)
		got := standing{Signer: planned.Active.Of(domain), Anchors: sets.Anchors(domain)}
		if set := sets.Of(domain); set.Next != nil {
			got.Next = set.Next.Generation
		}
		for _, k := range planned.Rekeys {
			if k.Domain == domain {
				got.Phase = k.Phase
			}
		}
		got.DropOld = slices.ContainsFunc(planned.Steps(), func(s plan.Step) bool { return isA[plan.DropOld](s) && transitionOf(s) == domain })
		want := r.standing(domain)
		if !got.DropOld && want.DropOld && (r.otherTurn(planned, domain) || has[plan.Publish](planned)) {
			want.DropOld = false // one transition at a time, and none that takes trust away while something is published
		}
		wishes := r.policy.Rekey[domain]
		if got.Phase == "" && (wishes.Rollback != "" || want.Next != 0 && wishes.Tainted == want.Next) {
			want.Phase, want.DropOld = "", false // it is about to be undone
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Sprintf("%s (-oracle +Next):\n%s", domain, diff)
		}
	}
	return ""
}

func (r rekeyOracle) otherTurn(planned plan.Plan, domain facts.Domain) bool {
	return slices.ContainsFunc(planned.Steps(), func(s plan.Step) bool {
		return transitionOf(s) != "" && transitionOf(s) != domain
	})
}

// trusted are the generations that were not dropped, oldest first.
func (r rekeyOracle) trusted(domain facts.Domain) (trusted []facts.Authority) {
	for _, a := range r.o.Authorities {
		dropped := slices.ContainsFunc(r.o.Authorities, func(b facts.Authority) bool {
			return b.Domain == domain && b.Generation != a.Generation && slices.Contains(b.Retired, a.Generation)
		})
		if a.Domain == domain && !dropped && !r.replaced(a) {
			trusted = append(trusted, a)
		}
	}
	slices.SortFunc(trusted, func(a, b facts.Authority) int { return a.Generation - b.Generation })
	return trusted
}

// replaced: a newer generation is lost, and with it the note on this one; but every pod that says what it holds holds the newer
// one and not this one.
func (r rekeyOracle) replaced(a facts.Authority) bool {
	for _, b := range r.o.Authorities {
		if b.Domain != a.Domain || b.Generation < a.Generation || b.Problem != reason.AuthorityLost || b.Generation == a.Generation {
			continue
		}
		witnesses, against := 0, 0
		for _, p := range r.o.Parties {
			for _, pod := range p.Pods {
				if pod.Report == nil || len(pod.Report.Loaded.Of(a.Domain)) == 0 {
					continue
				}
				witnesses++
				if held := pod.Report.Loaded.Of(a.Domain); !slices.Contains(held, b.Certificate.Fingerprint) || slices.Contains(held, a.Certificate.Fingerprint) {
					against++
				}
			}
		}
		if witnesses > 0 && against == 0 {
			return true
		}
		break // the first that is listed counts
	}
	return false
}

func (r rekeyOracle) standing(domain facts.Domain) (s standing) {
	trusted := r.trusted(domain)
	var candidates []facts.Authority // in favour of which nothing was rolled back
	for _, a := range trusted {
		if !slices.ContainsFunc(trusted, func(b facts.Authority) bool { return b.Generation < a.Generation && a.RollbackReason != "" }) {
			candidates = append(candidates, a)
		}
	}
	for i, a := range candidates {
		first := !slices.ContainsFunc(candidates[:i], func(b facts.Authority) bool { return r.o.Now.Before(b.Certificate.NotAfter) })
		signs := r.canSign(a) && (first || !a.SwitchedAt.IsZero()) && !r.unsure(a, trusted)
		switch {
		case signs:
			s.Signer, s.Next = a.Generation, 0
		case r.canSign(a):
			s.Next = a.Generation
		}
	}
	if s.Signer == 0 && s.Next == 0 {
		return s
	}
	for _, a := range trusted {
		undone := a.RollbackReason != "" || r.policy.Rekey[domain].Tainted == a.Generation
		if s.Signer == 0 || s.Signer == a.Generation || !undone || r.known(a) {
			s.Anchors = append(s.Anchors, a.Certificate.Fingerprint)
		}
	}
	for _, a := range r.o.External { // each is wanted or was noted
		if a.Domain == domain {
			s.Anchors = append(s.Anchors, a.Fingerprint)
		}
	}
	slices.Sort(s.Anchors)
	r.phase(domain, trusted, &s)
	return s
}

// known reports whether some bundle holds an authority, or may, or some leaf is its own.
func (r rekeyOracle) known(a facts.Authority) bool {
	known := a.Domain == facts.Server && (r.o.PublicTrust.State == facts.Unknown || slices.Contains(r.o.PublicTrust.Anchors, a.Certificate.Fingerprint))
	for _, p := range r.o.Parties {
		leaf := leafOf(&p.Material, a.Domain)
		known = known || p.Material.State == facts.Unknown || slices.Contains(p.Material.Anchors.Of(a.Domain), a.Certificate.Fingerprint) || leaf != nil && leaf.IssuerKeyID == a.Certificate.KeyID
	}
	return known
}

// phase reads docs/rotation.md's table of phases from below.
func (r rekeyOracle) phase(domain facts.Domain, trusted []facts.Authority, s *standing) {
	var leaving []facts.Authority
	for _, a := range trusted {
		if a.Generation != s.Signer && a.Generation != s.Next {
			leaving = append(leaving, a)
		}
	}
	dropped := slices.ContainsFunc(r.o.Authorities, func(a facts.Authority) bool {
		isTrusted := slices.ContainsFunc(trusted, func(b facts.Authority) bool { return b.Generation == a.Generation })
		return a.Domain == domain && !isTrusted && (a.Original.Present || a.Copy.Present)
	})
	switch {
	case s.Next != 0:
		s.Phase = plan.Preparing
	case s.Signer == 0:
	case len(leaving) > 0:
		r.leavingPhase(domain, leaving[0], s)
	case dropped:
		s.Phase = plan.Retiring
	}
}

func (r rekeyOracle) leavingPhase(domain facts.Domain, old facts.Authority, s *standing) {
	var signer facts.Authority
	for _, a := range r.o.Authorities {
		if a.Domain == domain && a.Generation == s.Signer {
			signer = a
		}
	}
	s.Phase = plan.Reissuing
	if old.Generation > s.Signer {
		s.Phase = plan.RollingBack
	}
	if r.used(domain, signer) {
		return
	}
	tainted := r.policy.Rekey[domain].Tainted
	switch {
	case old.Generation > s.Signer, tainted == old.Generation, tainted == s.Signer, !r.canSign(old), r.policy.Rekey[domain].Approved == old.Generation:
		s.DropOld = true
	case r.policy.RetireManual, r.o.Now.Before(signer.SwitchedAt.Add(r.policy.RetireSoak)):
		s.Phase = plan.Soaking
	default:
		s.DropOld = true
	}
}

func (r rekeyOracle) canSign(a facts.Authority) bool {
	return a.Problem == "" && !r.o.Now.Before(a.Certificate.NotBefore) && r.o.Now.Before(a.Certificate.NotAfter)
}

// used: some leaf is published of another authority, or some pod is not known and seen to use what is published.
func (r rekeyOracle) used(domain facts.Domain, signer facts.Authority) bool {
	for i, p := range r.o.Parties {
		wants := slices.ContainsFunc(p.Wants, func(w facts.LeafWant) bool { return w.Domain == domain })
		if !wants || p.Material.State == facts.Foreign {
			continue
		}
		leaf := leafOf(&p.Material, domain)
		if !oracle(r).whole(i) || leaf.IssuerKeyID != signer.Certificate.KeyID {
			return true
		}
		for j := range p.Pods {
			if !r.settled(i, j) {
				return true
			}
		}
	}
	return slices.ContainsFunc(r.o.Leftovers, func(l facts.Leftover) bool {
		return l.Domain == domain && l.IssuerKeyID != signer.Certificate.KeyID
	})
}

func (r rekeyOracle) settled(i, j int) bool { return oracle(r).settled(i, j) }

// unsure: another authority is lost, and what it noted with it; no leaf of this one is published, and a process is not known
// to hold it.
func (r rekeyOracle) unsure(a facts.Authority, trusted []facts.Authority) bool {
	lost := slices.ContainsFunc(trusted, func(b facts.Authority) bool {
		return b.Problem == reason.AuthorityLost && b.Generation != a.Generation
	})
	published, everybody := false, true
	for i, p := range r.o.Parties {
		leaf := leafOf(&p.Material, a.Domain)
		published = published || leaf != nil && leaf.IssuerKeyID == a.Certificate.KeyID
		wants := slices.ContainsFunc(p.Wants, func(w facts.LeafWant) bool { return w.Domain == a.Domain })
		if p.Material.State == facts.Foreign || wants && (leaf == nil || leaf.Problem != "") {
			continue // its material cannot be written before an authority signs
		}
		everybody = everybody && slices.Contains(p.Material.Anchors.Of(a.Domain), a.Certificate.Fingerprint)
		for j := range p.Pods {
			everybody = everybody && r.settled(i, j) && slices.Contains(p.Pods[j].Report.Loaded.Of(a.Domain), a.Certificate.Fingerprint)
		}
	}
	return lost && !published && !everybody
}
