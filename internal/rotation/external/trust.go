package external

import (
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Verifier is a kind of verifier that must be known to accept a custom certificate before a process presents it.
type Verifier struct {
	Name string
	// Distrusts names a verifier of this kind that is not known to hold an anchor of the wanted certificate, "" when all do, and
	// tells whether it is known to lack them.
	Distrusts func(a *Adopting, visit func(who string, lacks bool))
}

const podsVerifier = "every pod has loaded its anchor"

func (v *Verifier) pods() bool { return v.Name == podsVerifier }

// distrusts names a verifier that is not known to hold an anchor of the wanted certificate, "" when all do, and tells whether it
// is known to lack them. Such a one is named before those that give no answer.
func (r *Rules) distrusts(a *Adopting) (who string, lacks bool) {
	for i := range r.Trust {
		r.Trust[i].Distrusts(a, func(name string, known bool) {
			if who == "" || known && !lacks {
				who, lacks = name, known
			}
		})
	}
	return who, lacks
}

func clientsDistrust(a *Adopting, found func(string, bool)) {
	trust := &a.Observed.PublicTrust
	if a.Domain == facts.Server && (trust.State != facts.Present || !facts.Intersect(trust.Anchors, a.Want.Anchors)) {
		found("the clients' ConfigMap", true)
	}
}

// materialDistrusts: a party without material will come with the bundle of today.
func materialDistrusts(a *Adopting, found func(string, bool)) {
	for i := range a.Observed.Parties {
		m := &a.Observed.Parties[i].Material
		if m.State != facts.Foreign && m.State != facts.Missing && !facts.Intersect(m.Anchors.Of(a.Domain), a.Want.Anchors) {
			found(a.Observed.Parties[i].Name, m.State == facts.Present)
		}
	}
}

func podsDistrust(a *Adopting, found func(string, bool)) {
	for i := range a.Observed.Parties {
		p := &a.Observed.Parties[i]
		if p.Material.State == facts.Foreign {
			continue
		}
		for j := range p.Pods {
			pod := &p.Pods[j]
			known := pod.Report != nil && len(pod.Report.Loaded.Of(a.Domain)) > 0
			if !known || !facts.Intersect(pod.Report.Loaded.Of(a.Domain), a.Want.Anchors) {
				found(pod.Name, known)
			}
		}
	}
}
