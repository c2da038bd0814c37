package invariant

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// intact reports whether a party's material has every wanted leaf, usable, and the bundles.
func intact(p *facts.Party) bool {
	m := &p.Material
	for _, want := range p.Wants {
		if leaf := p.Leaf(want.Domain); leaf == nil || leaf.Problem != "" {
			return false
		}
	}
	for _, c := range m.Customs {
		if c.Problem != "" {
			return false
		}
	}
	for _, domain := range facts.Domains() {
		if p.Kind.Verifies(domain) && len(m.Anchors.Of(domain)) == 0 {
			return false
		}
	}
	return m.State == facts.Present && !m.Altered
}

// shown reports whether every port of a pod was seen to serve its party's material.
func shown(p *facts.Party, pod *facts.Pod) bool {
	for _, proof := range pod.Proofs {
		if want := p.Served(&proof); want == "" || proof.Fingerprint != want || proof.Revision != p.Material.Revision {
			return false
		}
	}
	return len(pod.Proofs) > 0
}

// quiet reports whether a pod uses what is published, holds nothing else, and was seen to serve it.
func quiet(p *facts.Party, pod *facts.Pod) bool {
	r := pod.Report
	return r != nil && r.Active == p.Material.Revision && (r.Mounted == "" || r.Mounted == r.Active) && shown(p, pod)
}

// doubtful returns a pod, other than one, that was asked for what is published and was not seen to serve it, "" when there is none.
func doubtful(o *facts.Observed, except string) string {
	for i := range o.Parties {
		p := &o.Parties[i]
		for k := range p.Pods {
			pod := &p.Pods[k]
			if p.Material.State == facts.Present && pod.Asked == p.Material.Revision && pod.Name != except && !shown(p, pod) {
				return pod.Name
			}
		}
	}
	return ""
}

// place is a party's place in the order of a rollout: operator and applications, replicas, poolers, primary.
func place(p *facts.Party) int {
	const replicas, primary = 1, 3
	place := int(p.Kind.Stage)
	if place == replicas && slices.ContainsFunc(p.Pods, func(pod facts.Pod) bool { return pod.Primary }) {
		return primary
	}
	return place
}

func unknownIsNo(o *facts.Observed, step plan.Step) string {
	s, activates := step.(plan.Activate)
	if !activates {
		return ""
	}
	asked := o.Party(s.Party)
	if asked == nil || !slices.ContainsFunc(asked.Pods, func(pod facts.Pod) bool { return pod.Name == s.Pod }) {
		return fmt.Sprintf("pod %s is not known", s.Pod)
	}
	if pressed(o, asked, s.Pod) || superseded(o, asked) {
		return ""
	}
	if pod := doubtful(o, s.Pod); pod != "" {
		return fmt.Sprintf("pod %s would be activated before pod %s is settled", s.Pod, pod)
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		before := place(p) < place(asked) || place(p) == place(asked) && p.Name < asked.Name
		if p.Material.State == facts.Foreign || !before && p.Name != asked.Name {
			continue // what is not the cluster's holds up no other
		}
		for k := range p.Pods {
			if p.Name == asked.Name && p.Pods[k].Name == s.Pod {
				break
			}
			if !quiet(p, &p.Pods[k]) && !denied(o, p, &p.Pods[k]) {
				return fmt.Sprintf("pod %s would be activated before pod %s is settled", s.Pod, p.Pods[k].Name)
			}
		}
	}
	return ""
}

// denied reports whether a pod goes on with what it had because the API server denied the write that would have changed that.
func denied(o *facts.Observed, p *facts.Party, pod *facts.Pod) bool {
	return o.Failure(plan.Activate{Pod: pod.Name}.Key()) != nil
}

// pressed reports whether a pod cannot wait: less than half of the shortest renewal window is left of what it uses, or it lacks a
// revocation list that it should have.
func pressed(o *facts.Observed, p *facts.Party, name string) bool {
	for i := range p.Pods {
		pod := &p.Pods[i]
		if pod.Name != name {
			continue
		}
		if late, missing := lacksLists(o, p, pod); missing && !o.Now.Before(late) && !listsSuspect(o) {
			return true
		}
		at, known := p.EndsIn(pod, p.ShortestWindow()/2)
		return known && !o.Now.Before(at)
	}
	return false
}

// listPatience is how long a pod may lack a revocation list while earlier pods are waited for.
const listPatience = 5 * time.Second

// lacksLists returns from when on a pod may wait no longer for lists that are published, and whether it is known to lack one.
func lacksLists(o *facts.Observed, p *facts.Party, pod *facts.Pod) (at time.Time, missing bool) {
	if !p.Kind.AuthenticatesClients || pod.Report == nil || p.Material.Revoked == nil {
		return at, false
	}
	for _, entry := range o.Ledger.Issued {
		published, listed := p.Material.Lists[entry.IssuerKeyID]
		loaded, some := pod.Report.Lists[entry.IssuerKeyID]
		wanted := !entry.RevokedAt.IsZero() && listed && slices.Contains(p.Material.Revoked[entry.IssuerKeyID], entry.Serial)
		if !wanted || some && (loaded >= published || entry.RevokedAt.Unix() < loaded) {
			continue
		}
		if late := entry.RevokedAt.Add(listPatience); !missing || late.Before(at) {
			at, missing = late, true
		}
	}
	if !missing {
		return at, false
	}
	for i := range o.Parties {
		other := &o.Parties[i]
		for k := range other.Pods {
			if r := other.Pods[k].Report; other.Kind.AuthenticatesClients && r != nil && maps.Equal(r.Lists, p.Material.Lists) && quiet(other, &other.Pods[k]) {
				return at.Add(-listPatience), true
			}
		}
	}
	return at, true
}

// listsSuspect reports whether some pod has loaded published lists and is not well.
func listsSuspect(o *facts.Observed) bool {
	for i := range o.Parties {
		p := &o.Parties[i]
		for k := range p.Pods {
			r := p.Pods[k].Report
			if p.Kind.AuthenticatesClients && p.Material.Revoked != nil && r != nil && maps.Equal(r.Lists, p.Material.Lists) && !quiet(p, &p.Pods[k]) {
				return true
			}
		}
	}
	return false
}

// superseded reports whether all authorities of some domain have expired, besides the one that issued a party's published leaf.
func superseded(o *facts.Observed, p *facts.Party) bool {
	for _, leaf := range p.Material.Leaves {
		others, expired := 0, 0
		for i := range o.Authorities {
			a := &o.Authorities[i]
			if a.Domain != leaf.Domain || a.Certificate.KeyID == leaf.IssuerKeyID {
				continue
			}
			others++
			if a.Expired(o.Now) {
				expired++
			}
		}
		if others > 0 && others == expired {
			return true
		}
	}
	return false
}

// useBeforeRetire: what is dropped from trust is needed by nothing that is published or served, and what is deleted is in no bundle.
func useBeforeRetire(o *facts.Observed, step plan.Step) string {
	switch s := step.(type) {
	case plan.DropAnchor:
		return needsAnchor(o, s)
	case plan.DropOld:
		return usesAuthority(o, s.Domain, s.Generation, false)
	case plan.DiscardAuthority:
		return usesAuthority(o, s.Domain, s.Generation, true)
	}
	return ""
}

func usesAuthority(o *facts.Observed, domain facts.Domain, generation int, deletes bool) string {
	old := o.Authority(domain, generation)
	if old == nil {
		return fmt.Sprintf("the %s authority g%d is not known", domain, generation)
	}
	fingerprint := old.Certificate.Fingerprint
	for i := range o.Parties {
		p := &o.Parties[i]
		if p.Material.State == facts.Foreign {
			continue
		}
		if l := p.Leaf(domain); l != nil && l.IssuerKeyID == old.Certificate.KeyID {
			return fmt.Sprintf("the %s leaf of %s was issued by g%d", domain, p.Name, generation)
		}
		if deletes && slices.Contains(p.Material.Anchors.Of(domain), fingerprint) {
			return fmt.Sprintf("%s still trusts the %s authority g%d", p.Name, domain, generation)
		}
		if pod := elsewhere(p); pod != "" {
			return fmt.Sprintf("pod %s is not known to use what is published", pod)
		}
	}
	if deletes && domain == facts.Server && o.PublicTrust.State != facts.Foreign && slices.Contains(o.PublicTrust.Anchors, fingerprint) {
		return fmt.Sprintf("the clients' ConfigMap still holds the server authority g%d", generation)
	}
	return ""
}

// elsewhere returns a pod that is not known to use what is published for its party, "" when there is none.
func elsewhere(p *facts.Party) string {
	for i := range p.Pods {
		if r := p.Pods[i].Report; r == nil || r.Active != p.Material.Revision {
			return p.Pods[i].Name
		}
	}
	return ""
}

// needsAnchor says what presents, or may present, a certificate that is verified by an anchor which is to be dropped. An expired
// anchor verifies nothing.
func needsAnchor(o *facts.Observed, s plan.DropAnchor) string {
	for i := range o.External {
		a := &o.External[i]
		switch {
		case a.Domain != s.Domain || a.Fingerprint != s.Anchor:
		case a.Held:
			return fmt.Sprintf("what the spec names and cannot be read may want %s", a.Subject)
		case !o.Now.Before(a.NotAfter):
			return ""
		}
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		if c := p.Material.Custom(s.Domain); c != nil && slices.Contains(c.Anchors, s.Anchor) {
			return fmt.Sprintf("%s presents a custom %s certificate of it", p.Name, s.Domain)
		}
		if pod := elsewhere(p); p.Material.State != facts.Foreign && pod != "" {
			return fmt.Sprintf("pod %s is not known to use what is published", pod)
		}
	}
	return ""
}
