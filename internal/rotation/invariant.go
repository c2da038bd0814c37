package rotation

import (
	"fmt"
	"slices"
)

// Violation names an invariant that does not hold, or that a step would break.
type Violation struct {
	Invariant string
	Message   string
}

// Error makes a Violation an error: the operator refuses to execute the step.
func (v *Violation) Error() string { return v.Invariant + ": " + v.Message }

// invariant is a rule about what was observed and a step that is about to be taken.
type invariant struct {
	name  string
	check func(Observed, Step) string // "" when it holds
}

// invariants are the rules of docs/rotation.md that can be seen at one instant.
// BoundedProgress is about histories and lives in the tests.
var invariants = [...]invariant{
	{"OneSigner", oneSigner},
	{"LeafWithinAuthority", leafWithinAuthority},
	{"TrustBeforeUse", trustBeforeUse},
	{"MutualTrust", mutualTrust},
	{"UnknownIsNo", unknownIsNo},
	{"SoundBeforeUse", soundBeforeUse},
	{"KeptAuthority", keptAuthority},
	{"UseBeforeRetire", useBeforeRetire},
}

// Check returns the first invariant that would be broken by executing the step
// in what was observed, or nil. It is written without the code of Next: it
// guards against its errors.
func Check(observed Observed, step Step) *Violation {
	for _, i := range invariants {
		if message := i.check(observed, step); message != "" {
			return &Violation{Invariant: i.name, Message: message}
		}
	}
	return nil
}

func oneSigner(o Observed, s Step) string {
	waiting := 0 // generations that are to sign some day, besides the one that does
	known := 0
	for _, a := range o.Authorities {
		if a.Domain != s.Domain {
			continue
		}
		known++
		if a.Generation == s.Generation && (s.Op == CreateAuthority || s.Op == TrustNew) {
			return fmt.Sprintf("the %s domain would have a second authority g%d", s.Domain, s.Generation)
		}
		for _, b := range o.Authorities {
			if b.Domain == s.Domain && b.Generation < a.Generation && a.Generation > b.RolledBack && a.SwitchedAt.IsZero() && a.Problem == "" && o.Now.Before(a.Certificate.NotAfter) && !noted(o, a) && !noted(o, b) {
				waiting++
				break
			}
		}
	}
	switch {
	case s.Op == CreateAuthority && known > 0:
		return fmt.Sprintf("the %s domain would have %d authorities that may sign", s.Domain, known+1)
	case s.Op == TrustNew && waiting > 0:
		return fmt.Sprintf("the %s domain would have %d authorities that wait to sign", s.Domain, waiting+1)
	}
	return ""
}

// noted reports whether an authority stands among those that were dropped from trust.
func noted(o Observed, a Authority) bool {
	for _, b := range o.Authorities {
		if b.Domain == a.Domain && b.Generation != a.Generation && slices.Contains(b.Retired, a.Generation) {
			return true
		}
	}
	return false
}

func leafWithinAuthority(o Observed, s Step) string {
	if s.Op != Activate {
		return ""
	}
	p := o.party(s.Party)
	if p == nil {
		return ""
	}
	for _, l := range p.Material.Leaves {
		a := o.issuer(l)
		if a != nil && l.NotAfter.After(a.Certificate.NotAfter) {
			return fmt.Sprintf("the %s leaf of %s outlives its authority", l.Domain, p.Name)
		}
	}
	return ""
}

func trustBeforeUse(o Observed, s Step) string {
	switch s.Op {
	case SwitchSigner:
		return notHeld(o, s)
	case Activate:
	default:
		return ""
	}
	p := o.party(s.Party)
	if p == nil {
		return ""
	}
	for _, l := range p.Material.Leaves {
		a := o.issuer(l)
		if a == nil {
			return fmt.Sprintf("the authority of the %s leaf of %s is not known", l.Domain, p.Name)
		}
		for i := range o.Parties {
			m := &o.Parties[i].Material
			held := m.Anchors.Of(l.Domain)
			if held != nil && m.State != Foreign && !slices.Contains(held, a.Certificate.Fingerprint) {
				return fmt.Sprintf("%s does not hold the authority of the %s leaf of %s", o.Parties[i].Name, l.Domain, p.Name)
			}
		}
	}
	return ""
}

// speechless reports whether a party wants a leaf, has none that can be used, and no authority that signed before can make one.
func (o *Observed) speechless(p *Party, domain Domain) bool {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.usable(o.Now) && (!a.SwitchedAt.IsZero() || a.Generation == 1) {
			return false
		}
	}
	leaf := p.material(domain)
	return p.wants(domain) && (leaf == nil || leaf.Problem != "")
}

// mutualTrust: whatever a pod is asked to present is accepted by every process that is known to verify it: it has loaded the
// authority of the leaf, or one that a presented bridge leads to.
func mutualTrust(o Observed, s Step) string {
	p := o.party(s.Party)
	if s.Op != Activate || p == nil {
		return ""
	}
	if message := o.customsAccepted(p); message != "" {
		return message
	}
	for _, leaf := range p.Material.Leaves {
		accepted, own := o.leadsTo(leaf), o.anchors(leaf.Domain)
		for i := range o.Parties {
			if o.Parties[i].Name == p.Name {
				continue // nobody verifies himself
			}
			for _, pod := range o.Parties[i].Pods {
				if pod.Report == nil || !intersect(pod.Report.Loaded.Of(leaf.Domain), own) {
					continue // nothing is known of it, or it accepts nobody as it is: it is named where it is waited for
				}
				if !intersect(pod.Report.Loaded.Of(leaf.Domain), accepted) {
					return fmt.Sprintf("pod %s has loaded nothing that accepts the %s leaf of %s", pod.Name, leaf.Domain, p.Name)
				}
			}
		}
	}
	return ""
}

// customsAccepted says whose process is known to have loaded no anchor of a custom certificate that a party's material presents.
// Whoever accepts nobody as he is, and whoever is not ours, is named where he is waited for.
func (o *Observed) customsAccepted(p *Party) string {
	for _, c := range p.Material.Customs {
		own := o.anchors(c.Domain)
		if want := p.custom(c.Domain); want != nil && want.Immediate && want.Content == c.Content {
			continue // somebody said so
		}
		for i := range o.Parties {
			if o.Parties[i].Name == p.Name || o.Parties[i].Material.State == Foreign {
				continue
			}
			for _, pod := range o.Parties[i].Pods {
				if pod.Report != nil && intersect(pod.Report.Loaded.Of(c.Domain), own) && !intersect(pod.Report.Loaded.Of(c.Domain), c.Anchors) {
					return fmt.Sprintf("pod %s has loaded nothing that accepts the custom %s certificate of %s", pod.Name, c.Domain, p.Name)
				}
			}
		}
	}
	return ""
}

func intersect(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// anchors are the fingerprints of all authorities of a domain that are known and that anybody still accepts.
func (o *Observed) anchors(domain Domain) (anchors []string) {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.Certificate.Fingerprint != "" && !a.expired(o.Now) {
			anchors = append(anchors, a.Certificate.Fingerprint)
		}
	}
	return anchors
}

// superseded reports whether all authorities of some domain have expired, besides the one that issued a party's published leaf.
func (o *Observed) superseded(p *Party) bool {
	for _, leaf := range p.Material.Leaves {
		others, expired := 0, 0
		for i := range o.Authorities {
			a := &o.Authorities[i]
			if a.Domain != leaf.Domain || a.Certificate.KeyID == leaf.IssuerKeyID {
				continue
			}
			others++
			if a.expired(o.Now) {
				expired++
			}
		}
		if others > 0 && others == expired {
			return true
		}
	}
	return false
}

// leadsTo are the fingerprints of the authorities that a presented chain ends at, the leaf's own first.
func (o *Observed) leadsTo(leaf Leaf) (anchors []string) {
	issuer := o.issuer(leaf)
	if issuer == nil {
		return nil
	}
	anchors = append(anchors, issuer.Certificate.Fingerprint)
	for i := range o.Authorities {
		for _, b := range [...]Bridge{o.Authorities[i].Forward, o.Authorities[i].Older, o.Authorities[i].Backward} {
			if !slices.Contains(leaf.Chain, b.Fingerprint) || !o.Now.Before(b.NotAfter) {
				continue
			}
			for k := range o.Authorities {
				if by := &o.Authorities[k]; by.Domain == leaf.Domain && by.Certificate.KeyID == b.IssuerKeyID {
					anchors = append(anchors, by.Certificate.Fingerprint)
				}
			}
		}
	}
	return anchors
}

// notHeld names somebody who is not known to hold an authority that is about to sign.
func notHeld(o Observed, s Step) string {
	a := o.authority(s.Domain, s.Generation)
	if a == nil || a.Problem != "" {
		return fmt.Sprintf("the %s authority g%d cannot sign", s.Domain, s.Generation)
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		if p.Material.State == Foreign || !p.verifies(s.Domain) || o.speechless(p, s.Domain) {
			continue
		}
		if !slices.Contains(p.Material.Anchors.Of(s.Domain), a.Certificate.Fingerprint) {
			return fmt.Sprintf("%s does not hold the new %s authority", p.Name, s.Domain)
		}
		for _, pod := range p.Pods {
			if pod.Report == nil || !slices.Contains(pod.Report.Loaded.Of(s.Domain), a.Certificate.Fingerprint) {
				return fmt.Sprintf("pod %s is not known to have loaded the new %s authority", pod.Name, s.Domain)
			}
		}
	}
	if s.Domain == Server && !slices.Contains(o.PublicTrust.Anchors, a.Certificate.Fingerprint) {
		return "the clients' ConfigMap does not hold the new server authority"
	}
	return ""
}

// useBeforeRetire: what is dropped from trust is used by nobody, and what is deleted is in no bundle.
func useBeforeRetire(o Observed, s Step) string {
	if s.Op == DropAnchor {
		return o.needsAnchor(s)
	}
	if s.Op != DropOld && s.Op != DiscardAuthority {
		return ""
	}
	old := o.authority(s.Domain, s.Generation)
	if old == nil {
		return fmt.Sprintf("the %s authority g%d is not known", s.Domain, s.Generation)
	}
	for i := range o.Parties {
		p := &o.Parties[i]
		if p.Material.State == Foreign {
			continue
		}
		for _, l := range p.Material.Leaves {
			if l.Domain == s.Domain && l.IssuerKeyID == old.Certificate.KeyID {
				return fmt.Sprintf("the %s leaf of %s was issued by g%d", s.Domain, p.Name, s.Generation)
			}
		}
		if s.Op == DiscardAuthority && slices.Contains(p.Material.Anchors.Of(s.Domain), old.Certificate.Fingerprint) {
			return fmt.Sprintf("%s still trusts the %s authority g%d", p.Name, s.Domain, s.Generation)
		}
		for _, pod := range p.Pods {
			if pod.Report == nil || pod.Report.Active != p.Material.Revision {
				return fmt.Sprintf("pod %s is not known to use what is published", pod.Name)
			}
		}
	}
	if s.Op == DiscardAuthority && s.Domain == Server && o.PublicTrust.State != Foreign && slices.Contains(o.PublicTrust.Anchors, old.Certificate.Fingerprint) {
		return fmt.Sprintf("the clients' ConfigMap still holds the server authority g%d", s.Generation)
	}
	return ""
}

// needsAnchor says who presents, or may, what is verified by an anchor that is to be dropped. An expired one verifies nothing.
func (o *Observed) needsAnchor(s Step) string {
	for _, a := range o.Foreign {
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
		if c := p.Material.custom(s.Domain); c != nil && slices.Contains(c.Anchors, s.Anchor) {
			return fmt.Sprintf("%s presents a custom %s certificate of it", p.Name, s.Domain)
		}
		for _, pod := range p.Pods {
			if p.Material.State != Foreign && (pod.Report == nil || pod.Report.Active != p.Material.Revision) {
				return fmt.Sprintf("pod %s is not known to use what is published", pod.Name)
			}
		}
	}
	return ""
}

func unknownIsNo(o Observed, s Step) string {
	if s.Op != Activate {
		return ""
	}
	unsettled := "" // the first pod that is being asked, or is before the one that is asked
	for i := range o.Parties {
		if unsettled == "" {
			unsettled = askedPod(&o.Parties[i], s.Pod)
		}
	}
	for _, stage := range stages {
		for i := range o.Parties {
			p := &o.Parties[i]
			if stageOf(p) != stage || p.Material.State == Foreign {
				continue // what is not ours holds up nobody
			}
			for j := range p.Pods {
				pod := &p.Pods[j]
				if pod.Name == s.Pod {
					return earlier(unsettled, p, pod, o)
				}
				if unsettled == "" && !settled(p, pod) {
					unsettled = pod.Name
				}
			}
		}
	}
	return fmt.Sprintf("pod %s is not known", s.Pod)
}

// earlier says that an unsettled pod comes before the one that is asked, unless that one is urgent, or can present nothing
// that anybody accepts.
func earlier(unsettled string, p *Party, pod *Pod, o Observed) string {
	if late, missing := o.listsDue(p, pod); missing && !o.Now.Before(late) && !o.listsInDoubt() {
		return ""
	}
	if at, known := p.urgentAt(pod); unsettled == "" || known && !o.Now.Before(at) || o.superseded(p) {
		return ""
	}
	return fmt.Sprintf("pod %s would be activated before pod %s is settled", pod.Name, unsettled)
}

func soundBeforeUse(o Observed, s Step) string {
	if s.Op != Activate {
		return ""
	}
	p := o.party(s.Party)
	switch {
	case p == nil:
		return fmt.Sprintf("party %s is not known", s.Party)
	case s.Revision == "" || p.Material.Revision != s.Revision:
		return fmt.Sprintf("revision %q of %s was not read back", s.Revision, s.Party)
	case !p.sound():
		return fmt.Sprintf("revision %s of %s is not sound", s.Revision, s.Party)
	}
	return ""
}

func keptAuthority(o Observed, s Step) string {
	if s.Op != ReleaseAuthority {
		return ""
	}
	for _, a := range o.Authorities {
		if a.Domain != s.Domain || a.Generation != s.Generation {
			continue
		}
		stays := a.Copy
		if s.Copy {
			stays = a.Original
		}
		if stays.Present && a.Problem == "" {
			return ""
		}
	}
	return fmt.Sprintf("the last Secret of the %s authority g%d would be let go", s.Domain, s.Generation)
}

// party returns the party of a name, or nil.
func (o *Observed) party(name string) *Party {
	for i := range o.Parties {
		if o.Parties[i].Name == name {
			return &o.Parties[i]
		}
	}
	return nil
}

// authority returns a generation of a domain, or nil.
func (o *Observed) authority(domain Domain, generation int) *Authority {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.Generation == generation {
			return a
		}
	}
	return nil
}

// issuer returns the stored authority that signed a leaf, or nil.
func (o *Observed) issuer(l Leaf) *Authority {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == l.Domain && a.Certificate.KeyID == l.IssuerKeyID {
			return a
		}
	}
	return nil
}
