package rotation

import (
	"fmt"
	"slices"
	"time"
)

// Custom is a certificate from elsewhere that the process of a party presents in place of the party's own leaf.
type Custom struct {
	Domain      Domain
	Fingerprint string // of the leaf
	IssuerKeyID string // of who issued the leaf: see pki.IssuerID
	Content     string // another one whenever chain or key is another
	// Anchors are the fingerprints of those to which its chain leads: a verifier needs one of them.
	Anchors             []string
	NotBefore, NotAfter time.Time
	// Problem is why what is in the material cannot be used (a pki.Reason), "" when it can.
	Problem string
	// Immediate: as it is wanted, it waits for nobody's trust.
	Immediate bool
	// Unapproved: a new issuer's, and a person is to say so first.
	Unapproved bool
}

// Adoption is the change of what the processes of one kind present, as far as it has not happened yet.
type Adoption struct {
	Kind   Kind
	Domain Domain
	// To is the content that is wanted; "": the parties' own leaves.
	To string
	// AffectedClients says which clients are refused afterwards, where that can be known; "" when none is.
	AffectedClients string
}

// fallbackBefore bounds how long before the end of a custom certificate the own leaf takes its place: then nobody who checks
// dates accepts it any longer, while who follows the ConfigMap accepts the own leaf.
const fallbackBefore = 10 * time.Minute

// custom returns what a party is to present in a domain; nil: its own leaf.
func (p *Party) custom(domain Domain) *Custom { return customIn(p.Customs, domain) }

// custom returns what material presents in a domain; nil: its own leaf.
func (m *Material) custom(domain Domain) *Custom { return customIn(m.Customs, domain) }

func customIn(customs []Custom, domain Domain) *Custom {
	for i := range customs {
		if customs[i].Domain == domain {
			return &customs[i]
		}
	}
	return nil
}

// content is what tells one custom certificate from another; "" is the own leaf.
func (c *Custom) content() string {
	if c == nil {
		return ""
	}
	return c.Content
}

// endsFrom is when the own leaf takes the place of a custom certificate that nobody has renewed.
func (c *Custom) endsFrom() time.Time {
	return c.NotAfter.Add(-min(fallbackBefore, c.NotAfter.Sub(c.NotBefore)/12))
}

// urgentFrom is when a custom certificate is so near its end that its successor waits for nobody who gives no answer.
func (c *Custom) urgentFrom() time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 6)
}

// Served returns the fingerprint of the leaf that a port of a party's pods is to serve, "" when there is none.
func (p *Party) Served(proof *Proof) string {
	if proof.Process {
		if c := p.Material.custom(Server); c != nil {
			return c.Fingerprint
		}
	}
	if leaf := p.material(Server); leaf != nil {
		return leaf.Fingerprint
	}
	return ""
}

// needCustom adds to n that a party's process is to present something else.
func (d *decision) needCustom(n *need, p *Party, domain Domain) {
	want, have := p.custom(domain), p.Material.custom(domain)
	if want != nil && d.ended(p, want) {
		want = nil
	}
	damaged := have != nil && have.Problem != ""
	unusable := damaged || have != nil && d.refused(p, want, have)
	if !unusable && want.content() == have.content() {
		return
	}
	d.adopting(p, domain, want, have)
	if have != nil {
		n.canWait = n.canWait && !unusable && d.observed.Now.Before(have.urgentFrom())
		d.wakeAt(have.urgentFrom())
	}
	switch to := d.toPresent(p, want, have, unusable); {
	case to == have && !unusable:
		return
	case to != nil:
		n.adopt = append(n.adopt, domain)
	default:
		n.own = append(n.own, domain)
	}
	if damaged {
		n.reason = ReasonDamaged
	} else if n.reason == "" {
		n.reason = ReasonCustomChanged
	}
}

// toPresent is what a party presents next on its way to what is wanted: that, or still the same, or its own leaf (nil).
func (d *decision) toPresent(p *Party, want, have *Custom, unusable bool) *Custom {
	if unusable {
		have = nil
	}
	switch {
	case want == nil || d.presentable(p, want, have):
		return want
	case have != nil && !d.ended(p, have):
		return have // what is presented ends after its successor is trusted
	}
	return nil
}

// refused reports whether a process is known to refuse what is published for a party and some pod of it does not present yet.
// It was published while that process gave no answer, or because somebody said that nobody is to be waited for. Nobody may be
// asked to present it, and who waits behind him might be the one that refuses it.
func (d *decision) refused(p *Party, want, have *Custom) bool {
	pending := slices.ContainsFunc(p.Pods, func(pod Pod) bool { return pod.Report != nil && pod.Report.Active != p.Material.Revision })
	if !pending || want != nil && want.Immediate && want.Content == have.Content {
		return false
	}
	for i := range d.observed.Parties {
		other := &d.observed.Parties[i]
		if other.Name == p.Name || other.Material.State == Foreign {
			continue
		}
		for j := range other.Pods {
			r := other.Pods[j].Report
			if r != nil && intersect(r.Loaded.Of(have.Domain), d.active.anchors(have.Domain)) && !d.holds(guardAnchorPod, intersect(r.Loaded.Of(have.Domain), have.Anchors)) {
				return true
			}
		}
	}
	return false
}

// ended reports whether a custom certificate is over, or nearly, and notes when it will be.
func (d *decision) ended(p *Party, c *Custom) bool {
	at := c.endsFrom()
	if d.observed.Now.Before(at) {
		d.wakeAt(at)
		return false
	}
	d.block(p.Name, CustomEnded, "the custom %s certificate of %s ends at %s and there is no newer one: its own leaf takes its place; renew the certificate in its Secret",
		c.Domain, p.Name, c.NotAfter.UTC().Format(time.RFC3339))
	return true
}

// presentable reports whether a custom certificate may be presented now: every verifier is known to accept it. Who gives no
// answer is not waited for when what is presented now is about to end, nor by a party that joins those who present it already.
func (d *decision) presentable(p *Party, want, have *Custom) bool {
	switch {
	case d.allWithheld(want):
		return false // which is said where the anchor is
	case want.Unapproved && !d.presentedElsewhere(p, want):
		d.block(p.Name, AwaitingApproval, "a custom %s certificate of a new issuer is there for %s: set the annotation pgtls.dev/adopt-approved to %s to have it presented (spec.tls.adoption)",
			want.Domain, p.Name, want.Content)
		return false
	case want.Immediate || d.unborn(p.Kind) && d.unheard(want):
		return true
	case have == nil || !intersect(have.Anchors, want.Anchors):
		if want.Domain == Server && !d.presentedElsewhere(p, want) && !d.followed(p, want) {
			return false
		}
	}
	who, lacks := d.distrusts(want)
	switch {
	case who == "":
		return true
	case lacks:
	case d.presentedElsewhere(p, want) || have != nil && !d.observed.Now.Before(have.urgentFrom()):
		return true
	case have != nil:
		d.wakeAt(have.urgentFrom())
	}
	d.block(who, TrustNotLoaded, "%s is not known to trust the issuer of the custom %s certificate of %s, which waits for it", who, want.Domain, p.Name)
	return false
}

// unborn reports whether no party of a kind has anything to present yet, and no pod that runs: then no client knows it.
func (d *decision) unborn(kind Kind) bool {
	return !slices.ContainsFunc(d.observed.Parties, func(p Party) bool {
		return p.Kind == kind && (p.Material.State != Missing || len(p.Pods) > 0)
	})
}

// unheard reports whether nobody who runs, or reads the ConfigMap, was given a bundle without the issuer of a custom certificate.
func (d *decision) unheard(want *Custom) bool {
	trust := &d.observed.PublicTrust
	if want.Domain == Server && trust.State == Present && !intersect(trust.Anchors, want.Anchors) {
		return false
	}
	for i := range d.observed.Parties {
		for _, pod := range d.observed.Parties[i].Pods {
			if pod.Report == nil || !intersect(pod.Report.Loaded.Of(want.Domain), want.Anchors) {
				return false
			}
		}
	}
	return true
}

// followed reports whether clients that follow the ConfigMap have had the time to take an issuer that nothing leads them to.
// Nobody can see what they hold.
func (d *decision) followed(p *Party, want *Custom) bool {
	var until time.Time
	known := false
	for i := range d.observed.Foreign {
		a := &d.observed.Foreign[i]
		if a.Domain != want.Domain || !a.Admitted || !slices.Contains(want.Anchors, a.Fingerprint) {
			continue
		}
		if at := a.AdmittedAt.Add(d.policy.TrustPropagationDelay); !known || at.Before(until) {
			until, known = at, true
		}
	}
	if !known {
		return false // it is being admitted
	}
	if d.holds(guardAnchorFollowed, !d.observed.Now.Before(until)) {
		return true
	}
	d.wakeAt(until)
	d.block(p.Name, AwaitingTrustPropagation, "a custom certificate of a new issuer is there: clients that follow the ConfigMap are given until %s to take the issuer (spec.tls.trustPropagationDelay)",
		until.UTC().Format(time.RFC3339))
	return false
}

// presentedElsewhere reports whether another party of the same kind presents the same.
func (d *decision) presentedElsewhere(p *Party, want *Custom) bool {
	for i := range d.observed.Parties {
		other := &d.observed.Parties[i]
		if other.Name != p.Name && other.Kind == p.Kind && other.Material.custom(want.Domain).content() == want.Content {
			return true
		}
	}
	return false
}

// distrusts names a verifier that is not known to hold an anchor of a custom certificate, "" when all do, and tells whether it
// is known to lack them. Such a one is named before those who give no answer.
func (d *decision) distrusts(want *Custom) (who string, lacks bool) {
	trust := &d.observed.PublicTrust
	if want.Domain == Server && !d.holds(guardAnchorClients, trust.State == Present && intersect(trust.Anchors, want.Anchors)) {
		return "the clients' ConfigMap", true
	}
	for i := range d.observed.Parties {
		p := &d.observed.Parties[i]
		if p.Material.State == Foreign {
			continue
		}
		name, known := d.partyDistrusts(p, want)
		if known {
			return name, true
		}
		if who == "" {
			who = name
		}
	}
	return who, false
}

// partyDistrusts is distrusts for one party. One without material will come with the bundle of today, but for its pods that run.
func (d *decision) partyDistrusts(p *Party, want *Custom) (who string, lacks bool) {
	m := &p.Material
	if m.State != Missing && !d.holds(guardAnchorMaterial, intersect(m.Anchors.Of(want.Domain), want.Anchors)) {
		who, lacks = p.Name, m.State == Present
	}
	for i := range p.Pods {
		pod := &p.Pods[i]
		known := pod.Report != nil && len(pod.Report.Loaded.Of(want.Domain)) > 0
		if lacks || d.holds(guardAnchorPod, known && intersect(pod.Report.Loaded.Of(want.Domain), want.Anchors)) {
			continue
		}
		if who == "" || known {
			who, lacks = pod.Name, known
		}
	}
	return who, lacks
}

// adopting notes that a kind of party is to present something else.
func (d *decision) adopting(p *Party, domain Domain, want, have *Custom) {
	for i := range d.adoptions {
		if a := &d.adoptions[i]; a.Kind == p.Kind && a.Domain == domain {
			return
		}
	}
	d.adoptions = append(d.adoptions, Adoption{Kind: p.Kind, Domain: domain, To: want.content(), AffectedClients: d.adoptionBreaks(p, domain, want, have)})
}

// adoptionBreaks says which clients will refuse what is to be presented, as far as that can be known: at birth nobody.
func (d *decision) adoptionBreaks(p *Party, domain Domain, want, have *Custom) string {
	if domain != Server {
		return "" // what replicas present is verified by this cluster alone
	}
	from, to := d.anchorsOf(p, have), d.anchorsOf(p, want)
	if len(from) == 0 || intersect(from, to) {
		return ""
	}
	text := "clients that hold only the present issuer refuse the new one until they take what the ConfigMap holds"
	for i := range d.observed.Parties {
		other := &d.observed.Parties[i]
		for j := range other.Pods {
			if n := other.Pods[j].refusedOf(want); n > 0 && other.Kind == p.Kind {
				text += fmt.Sprintf("; when pod %s served it, clients broke off %d handshakes", other.Pods[j].Name, n)
			}
		}
	}
	return text
}

// refusedOf counts the handshakes that clients broke off while a pod served the issuer of a custom certificate.
func (p *Pod) refusedOf(c *Custom) (count int) {
	if p.Report == nil || c == nil {
		return 0
	}
	for _, r := range p.Report.Refused {
		if r.IssuerKeyID == c.IssuerKeyID {
			count += r.Count
		}
	}
	return count
}

// anchorsOf are the anchors of a custom certificate, or of the own leaf.
func (d *decision) anchorsOf(p *Party, c *Custom) []string {
	if c != nil {
		return c.Anchors
	}
	leaf, l := p.material(Server), d.active.of(Server)
	if leaf == nil || l == nil {
		return nil
	}
	if issuer, _ := l.issuer(leaf); issuer != nil {
		return []string{issuer.Certificate.Fingerprint}
	}
	return nil
}
