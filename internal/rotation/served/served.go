// Package served judges what pods are known to serve. The decision alone uses it: the invariants have predicates of their own,
// so that a fault here cannot deceive both.
package served

import "pgtls.dev/pgtls/internal/rotation/facts"

// Sound reports whether every wanted leaf of a party is there and usable, and the bundles too.
func Sound(p *facts.Party) bool {
	if p.Material.State != facts.Present || p.Material.Altered {
		return false
	}
	for i := range p.Wants {
		if l := p.Leaf(p.Wants[i].Domain); l == nil || l.Problem != "" {
			return false
		}
	}
	for i := range p.Material.Customs {
		if p.Material.Customs[i].Problem != "" {
			return false
		}
	}
	return len(p.Material.Anchors.Server) > 0 && (len(p.Material.Anchors.Client) > 0 || !p.Kind.Verifies(facts.Client))
}

// Settled reports whether a pod is known and proven to use its party's material.
func Settled(p *facts.Party, pod *facts.Pod) bool {
	return pod.Report != nil && pod.Report.Active == p.Material.Revision && !pod.Report.Pending() && Proven(p, pod)
}

// Proven reports whether the operator's last handshake with each port of a pod showed its party's material.
func Proven(p *facts.Party, pod *facts.Pod) bool {
	for i := range pod.Proofs {
		proof := &pod.Proofs[i]
		if proof.Revision != p.Material.Revision || proof.Fingerprint == "" || proof.Fingerprint != p.Served(proof) {
			return false
		}
	}
	return len(pod.Proofs) > 0
}

// InDoubt returns a pod of a party, other than one, that was asked for what is published and was never proven to use it, or "".
// One that was proven and has become unreachable is not in doubt.
func InDoubt(p *facts.Party, other string) string {
	if p.Material.State != facts.Present {
		return ""
	}
	for i := range p.Pods {
		if pod := &p.Pods[i]; pod.Asked == p.Material.Revision && pod.Name != other && !Proven(p, pod) {
			return pod.Name
		}
	}
	return ""
}
