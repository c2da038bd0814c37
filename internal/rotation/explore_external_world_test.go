package rotation

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// The world of external trust anchors: two instances that are to present a certificate of one external issuer, then of another, or
// their own leaves again. The authorities of the cluster are at rest, and every bundle holds them.
//
// The operator and both pods verify; so does a client that reads the clients' ConfigMap now, and one that follows it and may lag
// behind until the trust propagation delay has passed.

// extWorld is a state. It holds no pointer and no padding.
type extWorld struct {
	wanted, changes  uint8        // issuer of the certificate that the spec names, 0: none; how often that may still change
	config, follower uint8        // external anchors in the ConfigMap, and in what the follower read: a bit for each issuer
	fresh            bool         // the ConfigMap was written less long ago than the trust propagation delay
	operator         uint8        // in the bundle of the operator
	record           [2]extAnchor // of both issuers
	pods             [2]extPod    // replica and primary
	fails            extFailing   // kind of step that fails from now on; 0: none
	breaks           bool         // one may still begin to
	failed           uint8        // kinds that did: a bit for each
}

// extAnchor is what the record says of an anchor.
type extAnchor struct {
	admitted, followed bool  // followed: longer ago than the trust propagation delay
	unused             uint8 // 0: no, 1: noted lately, 2: noted longer ago than the soak
}

// extPod is a pod with the Secret of its party.
type extPod struct {
	published, mounted, asked, active extMaterial
	serves, trusts                    uint8 // issuer of what the process presents, 0: the own leaf; external anchors that it verifies with
	provenAt                          extMaterial
	proven                            uint8
}

// extMaterial is what a Secret holds, and stands for its revision: issuer of what is presented, and the external anchors of the
// bundle. Bit 7 tells it from nothing.
type extMaterial uint8

func newExtMaterial(issuer, anchors uint8) extMaterial {
	return extMaterial(1<<7 | issuer | anchors<<2)
}

func (m extMaterial) issuer() uint8    { return uint8(m & 3) }
func (m extMaterial) anchors() uint8   { return uint8(m >> 2 & 3) }
func (m extMaterial) revision() string { return strconv.Itoa(int(m)) }

var (
	extParties = [2]string{"hippo-a", "hippo-b"}
	extPods    = [2]string{"hippo-a-0", "hippo-b-0"}
	extIssuers = [2]string{"acme", "bank"}
)

func extBit(issuer uint8) uint8 { return 1 << (issuer - 1) }

// extFailing is a kind of step that fails for one object.
type extFailing uint8

var extFailingKeys = [...]string{"", plan.PublishTrust{}.Key(), plan.Publish{Party: "operator"}.Key(), plan.Publish{Party: "hippo-a"}.Key(), plan.Publish{Party: "hippo-b"}.Key(),
	plan.Activate{Pod: "hippo-a-0"}.Key()}

func extFirst(changes uint8, breaks bool) extWorld {
	m := newExtMaterial(0, 0)
	pod := extPod{published: m, mounted: m, active: m, provenAt: m}
	return extWorld{changes: changes, breaks: breaks, pods: [2]extPod{pod, pod}}
}

// extPresenting is at rest, and both pods present a certificate of acme.
func extPresenting(changes uint8, breaks bool) extWorld {
	w := extFirst(changes, breaks)
	m := newExtMaterial(1, 1)
	pod := extPod{published: m, mounted: m, active: m, serves: 1, trusts: 1, provenAt: m, proven: 1}
	w.pods = [2]extPod{pod, pod}
	w.wanted, w.config, w.follower, w.operator, w.record[0] = 1, 1, 1, 1, extAnchor{admitted: true, followed: true}
	return w
}

func extNames(own string, mask uint8) []string {
	names := []string{own}
	for i, name := range extIssuers {
		if mask&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func extLeafOf(issuer uint8, party string) string {
	if issuer == 0 {
		return "own leaf of " + party
	}
	return "custom of " + extIssuers[issuer-1]
}

func extCustom(issuer uint8) facts.Custom {
	name := extIssuers[issuer-1]
	return facts.Custom{Domain: facts.Server, Fingerprint: extLeafOf(issuer, ""), IssuerKeyID: "key of " + name, Content: name, Anchors: []string{name}, NotBefore: tinyPast, NotAfter: tinyFuture}
}

func (w *extWorld) policy() facts.Policy {
	return facts.Policy{Authorities: map[facts.Domain]facts.CertificatePolicy{facts.Server: tinyLife, facts.Client: tinyLife}, RetireSoak: tinySoak, TrustPropagationDelay: time.Hour}
}

// seen is what the operator can know.
func (w extWorld) seen() extWorld {
	w.follower, w.changes, w.fails, w.breaks = 0, 0, 0, false
	w.pods[0].serves, w.pods[1].serves = 0, 0
	return w
}

// observe tells the operator what it may know.
func (w *extWorld) observe() facts.Observed {
	server, client := certificate(facts.Server, 1), certificate(facts.Client, 1)
	stored := facts.Store{Present: true}
	o := facts.Observed{
		Now: tinyNow, Ledger: facts.Ledger{State: facts.Missing}, GenerationSeen: map[facts.Domain]int{facts.Server: 1, facts.Client: 1},
		Authorities: []facts.Authority{{Domain: facts.Server, Generation: 1, Certificate: server, Original: stored, Copy: stored}, {Domain: facts.Client, Generation: 1, Certificate: client, Original: stored, Copy: stored}},
		PublicTrust: facts.Trust{State: facts.Present, Anchors: extNames(server.Fingerprint, w.config)},
		External:    w.external(),
	}
	with := func(mask uint8) facts.Bundles {
		return facts.Bundles{Server: extNames(server.Fingerprint, mask), Client: []string{client.Fingerprint}}
	}
	for i := range w.pods {
		p := &w.pods[i]
		pod := facts.Pod{Name: extPods[i], Primary: i == 1, Report: &facts.Report{Active: p.active.revision(), Mounted: p.mounted.revision(), ActiveUntil: tinyFuture, Loaded: with(p.trusts)}}
		if p.asked != 0 {
			pod.Asked = p.asked.revision()
		}
		if p.provenAt != 0 {
			pod.Proofs = []facts.Proof{{Port: "postgres", Process: true, Fingerprint: extLeafOf(p.proven, extParties[i]), Revision: p.provenAt.revision()}}
		}
		party := facts.Party{Name: extParties[i], Kind: party.Instance, Pods: []facts.Pod{pod}, Wants: []facts.LeafWant{{Domain: facts.Server, CertificatePolicy: tinyLife}},
			Material: facts.Material{State: facts.Present, Revision: p.published.revision(), Leaves: []facts.Leaf{tinyLeaf(facts.Server, extLeafOf(0, extParties[i]), 1)}, Anchors: with(p.published.anchors())}}
		if issuer := p.published.issuer(); issuer != 0 {
			party.Material.Customs = []facts.Custom{extCustom(issuer)}
		}
		if w.wanted != 0 {
			party.Customs = []facts.Custom{extCustom(w.wanted)}
		}
		o.Parties = append(o.Parties, party)
	}
	o.Parties = append(o.Parties, facts.Party{Name: "operator", Kind: party.Operator, Wants: []facts.LeafWant{{Domain: facts.Client, CertificatePolicy: tinyLife}},
		Material: facts.Material{State: facts.Present, Revision: "of the operator", Leaves: []facts.Leaf{tinyLeaf(facts.Client, "leaf of the operator", 1)}, Anchors: with(w.operator)}})
	if w.fresh {
		o.PublicTrust.ChangedAt = tinyNow
	}
	for i, key := range extFailingKeys {
		if w.failed&(1<<i) != 0 {
			o.Failures = append(o.Failures, facts.Failure{Step: key, Object: "the object of " + key, Cause: "Immutable", Message: "the object is immutable", RetryAt: tinyFuture})
		}
	}
	return o
}

func (w *extWorld) external() (anchors []facts.Anchor) {
	for i, r := range w.record {
		a := facts.Anchor{Domain: facts.Server, Fingerprint: extIssuers[i], Subject: "CN=" + extIssuers[i], NotAfter: tinyFuture, Wanted: int(w.wanted) == i+1, Admitted: r.admitted}
		if r.admitted {
			a.AdmittedAt = tinyNow
		}
		if r.followed {
			a.AdmittedAt = tinyNow.Add(-time.Hour)
		}
		switch r.unused {
		case 1:
			a.UnusedSince = tinyNow
		case 2:
			a.UnusedSince = tinyNow.Add(-tinySoak)
		}
		if a.Wanted || a.Admitted {
			anchors = append(anchors, a)
		}
	}
	return anchors
}

// extStep is a step as data.
type extStep struct {
	step    plan.Step
	lane    int
	which   int // party or pod; 2 is the operator
	issuer  int // of an anchor
	anchors uint8
	adopts  uint8 // issuer of what is adopted: the executor takes it from the facts that the plan was made from
}

// take executes a step, and reports whether its lane goes on.
func (w *extWorld) take(s *extStep) bool {
	if i := slices.Index(extFailingKeys[:], s.step.Key()); i > 0 && extFailing(i) == w.fails {
		w.failed |= 1 << i
		return false
	} else if i > 0 {
		w.failed &^= 1 << i
	}
	switch step := s.step.(type) {
	case plan.AdmitAnchor:
		r := &w.record[s.issuer]
		r.followed = r.followed && r.admitted
		r.admitted, r.unused = true, 0
	case plan.NoteUnused:
		w.record[s.issuer].unused = 1
	case plan.DropAnchor:
		w.record[s.issuer] = extAnchor{}
	case plan.PublishTrust:
		w.config, w.fresh = s.anchors, true
	case plan.Publish:
		w.publish(step, s)
	case plan.Activate:
		p := &w.pods[s.which]
		p.asked, p.provenAt, p.proven = p.published, 0, 0 // what was seen of this revision before, when it was active for the first time, is no proof
		if n, err := strconv.Atoi(step.Revision); err == nil {
			p.asked = extMaterial(n)
		}
	case plan.Prove:
		p := &w.pods[s.which]
		p.provenAt, p.proven = p.active, p.serves
	default:
		panic("no executor knows how to take " + s.step.String())
	}
	return true
}

func (w *extWorld) publish(step plan.Publish, s *extStep) {
	if s.which == 2 {
		w.operator = s.anchors
		return
	}
	p := &w.pods[s.which]
	issuer := p.published.issuer()
	switch {
	case len(step.Adopt) > 0:
		issuer = s.adopts
	case len(step.Own) > 0:
		issuer = 0
	}
	p.published = newExtMaterial(issuer, s.anchors)
}

// refused says which verifier would refuse what a pod presents; "" when none does.
func (w *extWorld) refused() string {
	for i := range w.pods {
		issuer := w.pods[i].serves
		if issuer == 0 {
			continue
		}
		for _, v := range [...]struct {
			name    string
			anchors uint8
		}{
			{"the operator", w.operator}, {"a client that reads the ConfigMap now", w.config}, {"the client that follows the ConfigMap", w.follower}, {extPods[1-i], w.pods[1-i].trusts},
		} {
			if v.anchors&extBit(issuer) == 0 {
				return fmt.Sprintf("%s holds %v and refuses %s, which presents a certificate of %s", v.name, extNames("g1", v.anchors), extPods[i], extIssuers[issuer-1])
			}
		}
	}
	return ""
}

// atRest reports whether everything is as wanted and no anchor is left that is not.
func (w *extWorld) atRest() bool {
	mask := uint8(0)
	if w.wanted != 0 {
		mask = extBit(w.wanted)
	}
	rest := w.config == mask && w.follower == mask && w.operator == mask
	for i := range w.pods {
		p := &w.pods[i]
		rest = rest && p.published == newExtMaterial(w.wanted, mask) && p.active == p.published && p.mounted == p.published && p.serves == w.wanted && p.trusts == mask
	}
	for i, r := range w.record {
		rest = rest && r.admitted == (int(w.wanted) == i+1)
	}
	return rest
}
