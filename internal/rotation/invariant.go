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
	{"UnknownIsNo", unknownIsNo},
	{"SoundBeforeUse", soundBeforeUse},
	{"KeptAuthority", keptAuthority},
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
	if s.Op != Publish && s.Op != CreateAuthority {
		return ""
	}
	domains := s.Reissue // others are none of this step's business
	if s.Op == CreateAuthority {
		domains = []Domain{s.Domain}
	}
	for _, domain := range domains {
		usable := 0
		for _, a := range o.Authorities {
			if a.Domain == domain && a.Problem == "" {
				usable++
			}
		}
		if s.Op == CreateAuthority {
			usable++
		}
		if usable > 1 {
			return fmt.Sprintf("the %s domain would have %d authorities that may sign", domain, usable)
		}
	}
	return ""
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
	if s.Op != Activate {
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
			held, known := m.Anchors[l.Domain]
			if known && m.State != Foreign && !slices.Contains(held, a.Certificate.Fingerprint) {
				return fmt.Sprintf("%s does not hold the authority of the %s leaf of %s", o.Parties[i].Name, l.Domain, p.Name)
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

// earlier says that an unsettled pod comes before the one that is asked, unless that one is urgent.
func earlier(unsettled string, p *Party, pod *Pod, o Observed) string {
	if at, known := p.urgentAt(pod); unsettled == "" || known && !o.Now.Before(at) {
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

// issuer returns the stored authority that signed a leaf, or nil.
func (o *Observed) issuer(l Leaf) *Authority {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == l.Domain && a.Certificate.KeyID == l.IssuerKeyID {
			return a
		}
	}
	return nil
}
