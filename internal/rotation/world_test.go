package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// The policy of the world, as in the defaults but for an authority that outlives every history.
const (
	serverLife   = 90 * day
	serverWindow = 30 * day
	clientLife   = 30 * day
	clientWindow = 10 * day
	backdate     = 10 * time.Minute
	day          = 24 * time.Hour
)

var dawn = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a simulated cluster: API server, kubelets, agents, handshakes and a
// clock, without a process. Everything in it is the truth; observe tells the
// operator what it may know of it.
type world struct {
	now         time.Time
	policy      facts.Policy
	authorities map[facts.Domain]*storedAuthority   // the oldest generation of each domain
	newer       map[facts.Domain][]*storedAuthority // those that were made while it was there
	trust       facts.Trust
	sources     map[slot]*source // of certificates from elsewhere
	record      []facts.Anchor   // from elsewhere, that are noted as trusted, sorted
	besides     []string         // anchors from elsewhere that are wanted although nothing presents what they issued
	members     []*member        // sorted by name
	serial      int
	unchecked   bool         // Check lets everything through, so that a test sees what happens then
	after       func()       // is called after every step and every agent's turn
	ledger      facts.Ledger // of applications
	log         []string     // of executed steps
	trouble     *troubles    // steps that fail; nil: none does
}

// member is a party with its Secret and its pods.
type member struct {
	name   string
	kind   *facts.Kind
	wants  []facts.LeafWant
	secret facts.Material
	pods   []*container

	user         string // of an application
	revokeBefore time.Time
}

// container is a pod: what its agent does, what its process serves.
type container struct {
	name    string
	primary bool
	started bool

	asked   string
	active  facts.Material
	served  string                      // fingerprint of what the process serves
	own     string                      // of what the agent and Patroni serve
	shows   map[facts.Domain]facts.Leaf // what its processes present, with the chains
	loaded  facts.Bundles               // what they verify with
	customs []facts.Custom              // what the process presents in place of the pod's own leaf
	unasked bool

	unreachable bool // the operator gets no report and no handshake
	refuses     bool // the agent says no
	slow        bool // the agent has not come to it yet
	deaf        bool // the process reloads nothing although its agent believes it

	terminated facts.Terminated // what the operator remembers

	sessions        []facts.Session // of people with certificates of their own
	sessionsUnknown bool
	refused         []facts.Refused // that its agent has counted

	report *facts.Report // that the operator remembers, taken anew by observe
	proofs []facts.Proof // that the operator remembers
}

// birth makes a cluster in which nothing has been issued yet.
func birth(replicas, poolers int) *world {
	w := &world{now: dawn, trust: facts.Trust{State: facts.Missing}, ledger: facts.Ledger{State: facts.Missing}, authorities: map[facts.Domain]*storedAuthority{}, newer: map[facts.Domain][]*storedAuthority{}, sources: map[slot]*source{}}
	w.policy.Rekey = map[facts.Domain]facts.RekeyPolicy{}
	w.policy.Authorities = map[facts.Domain]facts.CertificatePolicy{
		facts.Server: {Life: 730 * day, Algorithm: pki.DefaultAlgorithm},
		facts.Client: {Life: 730 * day, Algorithm: pki.DefaultAlgorithm},
	}
	w.members = []*member{{name: "operator", kind: party.Operator, wants: []facts.LeafWant{wantClient("_pgtls")}, secret: facts.Material{State: facts.Missing}}}
	for i := range replicas {
		w.join(i)
	}
	if replicas > 0 {
		w.member("db-0").pods[0].primary = true
	}
	if poolers > 0 {
		pooler := &member{name: "pgbouncer", kind: party.Pooler, secret: facts.Material{State: facts.Missing},
			wants: []facts.LeafWant{wantServer("pgbouncer"), wantClient("_pgtlspgbouncer")}}
		for i := range poolers {
			pooler.pods = append(pooler.pods, &container{name: fmt.Sprintf("pgbouncer-%c", 'x'+i)})
		}
		w.members = append(w.members, pooler)
	}
	w.sort()
	return w
}

// settledWorld makes a cluster at rest without asking Next: db-0 is the
// primary, db-1 the canary, db-2 a replica, and there are two poolers.
func settledWorld() *world {
	w := birth(3, 2)
	for _, domain := range facts.Domains() {
		w.createAuthority(domain, 1)
	}
	w.trust = facts.Trust{State: facts.Present, Anchors: []string{"server-g1"}}
	for _, m := range w.members {
		w.publish(m, facts.Domains())
		for _, c := range m.pods {
			c.install(m.secret, m.secret.Revision)
			w.handshake(m, c)
		}
	}
	w.log = nil
	return w
}

func wantServer(party string) facts.LeafWant {
	return facts.LeafWant{Domain: facts.Server, CommonName: party, DNSNames: []string{party, party + ".ns"},
		CertificatePolicy: facts.CertificatePolicy{Life: serverLife, RenewBefore: serverWindow, Algorithm: pki.ECDSAP256}}
}

func wantClient(name string) facts.LeafWant {
	return facts.LeafWant{Domain: facts.Client, CommonName: name,
		CertificatePolicy: facts.CertificatePolicy{Life: clientLife, RenewBefore: clientWindow, Algorithm: pki.ECDSAP256}}
}

func (w *world) sort() {
	slices.SortFunc(w.members, func(a, b *member) int { return cmp.Compare(a.name, b.name) })
}

// join adds an instance whose pod has not started.
func (w *world) join(index int) {
	name := fmt.Sprintf("db-%d", index)
	w.members = append(w.members, &member{name: name, kind: party.Instance, secret: facts.Material{State: facts.Missing},
		wants: []facts.LeafWant{wantServer(name), wantClient("_pgtlsrepl")}, pods: []*container{{name: name + "-0"}}})
	w.sort()
}

func (w *world) leave(name string) {
	w.members = slices.DeleteFunc(w.members, func(m *member) bool { return m.name == name })
}

// failover makes another instance's pod the primary.
func (w *world) failover(name string) {
	for _, m := range w.members {
		for _, c := range m.pods {
			c.primary = m.name == name
		}
	}
}

func (w *world) member(name string) *member {
	for _, m := range w.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (w *world) pod(name string) (*member, *container) {
	for _, m := range w.members {
		for _, c := range m.pods {
			if c.name == name {
				return m, c
			}
		}
	}
	return nil, nil
}

func (m *member) leaf(domain facts.Domain) *facts.Leaf { return leafOf(&m.secret, domain) }

// leafOf finds a leaf without the code under test.
func leafOf(material *facts.Material, domain facts.Domain) *facts.Leaf {
	for i := range material.Leaves {
		if material.Leaves[i].Domain == domain {
			return &material.Leaves[i]
		}
	}
	return nil
}

// --- what the operator sees -------------------------------------------------

func (w *world) observe() facts.Observed {
	o := facts.Observed{Now: w.now, PublicTrust: w.trust, GenerationSeen: map[facts.Domain]int{}}
	o.PublicTrust.Anchors = slices.Clone(w.trust.Anchors)
	for _, domain := range facts.Domains() {
		for _, a := range w.generations(domain) {
			if !a.stored() && !a.remembered && w.named(domain, a) {
				o.Authorities = append(o.Authorities, facts.Authority{Domain: domain, Generation: a.generation, Certificate: a.certificate,
					Problem: reason.AuthorityLost, Message: "as lost"})
			}
			if a.stored() || a.remembered {
				o.Authorities = append(o.Authorities, facts.Authority{Domain: domain, Generation: a.generation, Certificate: a.certificate,
					Created: a.created, Problem: a.problem, Message: "as " + string(a.problem), Original: a.original, Copy: a.copy, Remembered: !a.stored(),
					Forward: a.forward, Backward: a.backward, Older: a.older, Marks: a.marks})
			}
		}
		for _, m := range w.members {
			if m.secret.State == facts.Present {
				o.GenerationSeen[domain] = max(o.GenerationSeen[domain], highestNamed(m.secret.Anchors.Of(domain)))
			}
		}
	}
	for _, m := range w.members {
		p := m.observe(w.now)
		p.Customs = w.wantedBy(m)
		o.Parties = append(o.Parties, p)
	}
	o.External = w.external()
	o.Failures = w.trouble.observe()
	w.observeApplications(&o)
	return o
}

func (m *member) observe(now time.Time) facts.Party {
	p := facts.Party{Name: m.name, Kind: m.kind, Material: cloneMaterial(m.secret), User: m.user, RevokeBefore: m.revokeBefore}
	for i := range p.Material.Leaves {
		switch l := &p.Material.Leaves[i]; {
		case l.Problem != "":
		case !now.Before(l.NotAfter):
			l.Problem = string(pki.Expired)
		case now.Before(l.NotBefore):
			l.Problem = string(pki.NotYetValid)
		}
	}
	for i := range p.Material.Customs {
		if c := &p.Material.Customs[i]; c.Problem == "" && !now.Before(c.NotAfter) {
			c.Problem, c.Anchors = string(pki.Expired), nil // its chain leads nowhere
		}
	}
	for _, want := range m.wants {
		want.DNSNames = slices.Clone(want.DNSNames)
		p.Wants = append(p.Wants, want)
	}
	for _, c := range m.pods {
		if c.started {
			p.Pods = append(p.Pods, c.observe(m))
		}
	}
	return p
}

func (c *container) observe(m *member) facts.Pod {
	c.report = nil
	if !c.unreachable {
		c.report = &facts.Report{Active: c.active.Revision, Mounted: m.secret.Revision, ActiveUntil: firstEnd(&c.active), Lists: c.active.Lists, Loaded: cloneMaterial(facts.Material{Anchors: c.loaded}).Anchors, Refused: c.refused}
		if c.refuses && c.asked != c.active.Revision {
			c.report.ProblemReason, c.report.ProblemMessage = "ReloadFailed", "the process does not answer"
		}
	}
	return facts.Pod{
		Name: c.name, Primary: c.primary, Asked: c.asked, Report: c.report, Proofs: slices.Clone(c.proofs),
		Sessions: c.sessions, SessionsKnown: !c.sessionsUnknown, Terminated: c.terminated,
	}
}

func cloneMaterial(m facts.Material) facts.Material {
	m.Leaves = slices.Clone(m.Leaves)
	for i := range m.Leaves {
		m.Leaves[i].Chain = slices.Clone(m.Leaves[i].Chain)
	}
	m.Customs = cloneCustoms(m.Customs)
	for _, domain := range facts.Domains() {
		m.Anchors.Set(domain, slices.Clone(m.Anchors.Of(domain)))
	}
	return m
}

func firstEnd(m *facts.Material) time.Time {
	var end time.Time
	for _, l := range m.Leaves {
		if end.IsZero() || l.NotAfter.Before(end) {
			end = l.NotAfter
		}
	}
	for _, c := range m.Customs {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// --- what the operator does -------------------------------------------------

// execute carries one step out, with the preconditions that the real writes have.
func (w *world) execute(s plan.Step) error {
	w.log = append(w.log, s.String())
	switch s := s.(type) {
	case plan.CreateAuthority, plan.RestoreAuthority:
		return w.storeAuthority(s)
	case plan.TrustNew, plan.SwitchSigner, plan.RollBack, plan.DropOld, plan.DiscardAuthority:
		return w.rekey(s)
	case plan.AdmitAnchor:
		return w.note(s.AnchorStep, s)
	case plan.NoteUnused:
		return w.note(s.AnchorStep, s)
	case plan.DropAnchor:
		return w.note(s.AnchorStep, s)
	case plan.PublishTrust:
		if w.trust.State == facts.Foreign {
			return fmt.Errorf("overwriting a foreign ConfigMap")
		}
		w.trust = facts.Trust{State: facts.Present, Anchors: s.Anchors, ChangedAt: w.now}
	case plan.Publish:
		m := w.member(s.Party)
		if m == nil || m.secret.State == facts.Foreign {
			return fmt.Errorf("writing Secret %s", s.Party)
		}
		return w.write(m, s)
	case plan.Activate:
		if _, c := w.pod(s.Pod); c != nil {
			c.asked, c.proofs = s.Revision, nil // what was seen of this revision before is no proof
		}
	case plan.Revoke, plan.EndSessions, plan.Discard:
		return w.application(s)
	case plan.Prove:
		if m, c := w.pod(s.Pod); c != nil {
			w.handshake(m, c)
		}
	default:
		return fmt.Errorf("no such step: %q", s.Op())
	}
	return nil
}

// publish writes a member's Secret as a fact: some leaves anew, bundles and chains as the stored authorities have it, and what is
// presented in place of leaves stays.
func (w *world) publish(m *member, reissue []facts.Domain) {
	w.publishAs(m, plan.Publish{Reissue: reissue})
}

func (w *world) publishAs(m *member, s plan.Publish) {
	for _, domain := range facts.Domains() {
		s.Anchors.Set(domain, w.anchors(domain))
		issuer := ""
		if signer := w.signing(domain); slices.Contains(s.Reissue, domain) {
			s.Active.Set(domain, signer.generation)
			issuer = signer.certificate.KeyID
		} else if leaf := m.leaf(domain); leaf != nil {
			issuer = leaf.IssuerKeyID
		}
		s.Chain.Set(domain, w.chainOf(domain, issuer))
	}
	if m.kind == party.Application {
		s.Anchors.Client = nil
	}
	if err := w.write(m, s); err != nil {
		panic(err)
	}
}

// write writes a member's Secret: what the step says, and of the rest what there is.
func (w *world) write(m *member, s plan.Publish) error {
	customs, err := w.customsAfter(m, s)
	if err != nil {
		return err
	}
	material := facts.Material{State: facts.Present, Answered: w.policy.RenewRequest, Customs: customs, Anchors: m.secret.Anchors}
	for _, domain := range facts.Domains() {
		if anchors := s.Anchors.Of(domain); anchors != nil {
			material.Anchors.Set(domain, anchors)
		}
	}
	w.addRevocations(m, &material, s)
	for _, want := range m.wants {
		leaf := m.leaf(want.Domain)
		if slices.Contains(s.Reissue, want.Domain) {
			signer := w.generation(want.Domain, s.Active.Of(want.Domain))
			if signer == nil {
				return fmt.Errorf("%s: there is no %s g%d", s, want.Domain, s.Active.Of(want.Domain))
			}
			made := w.issue(want, signer)
			w.noteIssue(m, &made)
			leaf = &made
		}
		if leaf != nil {
			kept := *leaf
			kept.Chain = slices.Clone(s.Chain.Of(want.Domain))
			material.Leaves = append(material.Leaves, kept)
		}
	}
	material.Revision = revisionOf(&material)
	m.secret = material
	return nil
}

func (w *world) issue(want facts.LeafWant, by *storedAuthority) facts.Leaf {
	w.serial++
	signer := by.certificate
	end := w.now.Add(want.Life)
	if end.After(signer.NotAfter) {
		end = signer.NotAfter
	}
	return facts.Leaf{Domain: want.Domain, CertificateFacts: pki.CertificateFacts{
		Serial:  fmt.Sprintf("s%d", w.serial),
		Subject: "CN=" + want.CommonName, IssuerKeyID: signer.KeyID, Algorithm: want.Algorithm,
		DNSNames: slices.Clone(want.DNSNames), IPs: slices.Clone(want.IPs),
		NotBefore: w.now.Add(-backdate), NotAfter: end, Fingerprint: fmt.Sprintf("leaf-%d", w.serial)}}
}

// revisionOf names content, as pki.Revision does.
func revisionOf(m *facts.Material) string {
	data := map[string][]byte{}
	for _, l := range m.Leaves {
		data[string(l.Domain)] = []byte(l.Fingerprint + l.Problem + strings.Join(l.Chain, " "))
	}
	for _, c := range m.Customs {
		data["custom "+string(c.Domain)] = []byte(c.Content + c.Problem)
	}
	for _, domain := range facts.Domains() {
		if anchors := m.Anchors.Of(domain); anchors != nil {
			data["ca "+string(domain)] = []byte(strings.Join(anchors, " "))
		}
	}
	if m.Revoked != nil {
		data["crl"] = fmt.Append(nil, m.Revoked)
	}
	if m.Altered {
		data["altered"] = nil
	}
	return pki.Revision(data)[:6]
}

// handshake looks at the three ports of a pod and remembers what it saw.
func (w *world) handshake(m *member, c *container) {
	c.proofs = nil
	for _, port := range []string{"postgres", "patroni", "agent"} {
		proof := facts.Proof{Port: port, Process: port == "postgres", Revision: c.active.Revision, Fingerprint: c.own}
		if proof.Process {
			proof.Fingerprint = c.served
		}
		if c.unreachable {
			proof.Fingerprint, proof.Problem = "", "no route to host"
		}
		c.proofs = append(c.proofs, proof)
	}
}

// --- what happens by itself -------------------------------------------------

// agents lets every agent look at its files and its clock once.
func (w *world) agents() {
	for _, m := range w.members {
		for _, c := range m.pods {
			before, started := c.active.Revision, c.started
			if w.agent(m, c); c.active.Revision != before || c.started != started {
				w.looked()
			}
		}
	}
}

// looked lets a test look at the world.
func (w *world) looked() {
	if w.after != nil {
		w.after()
	}
}

func (w *world) agent(m *member, c *container) {
	mounted := &m.secret
	takes := w.agentTakes(m, mounted) && !c.refuses && !c.slow
	switch {
	case !c.started && w.agentTakes(m, mounted):
		c.install(*mounted, "")
	case !c.started || !takes || mounted.Revision == c.active.Revision:
	case c.asked == mounted.Revision:
		c.install(*mounted, c.asked)
	case w.now.After(firstEnd(&c.active).Add(-clientWindow / 4)):
		c.install(*mounted, c.asked)
		c.unasked = true
	}
}

// agentTakes is the agent's own verdict on what is mounted.
func (w *world) agentTakes(m *member, mounted *facts.Material) bool {
	for _, l := range mounted.Leaves {
		if l.Problem != "" || !w.now.Before(l.NotAfter) || w.now.Before(l.NotBefore) {
			return false
		}
	}
	for _, c := range mounted.Customs {
		leads := slices.ContainsFunc(c.Anchors, func(a string) bool { return slices.Contains(mounted.Anchors.Of(c.Domain), a) })
		if c.Problem != "" || !leads || !w.now.Before(c.NotAfter) || w.now.Before(c.NotBefore) {
			return false
		}
	}
	return mounted.State == facts.Present && !mounted.Altered && listed(w, mounted) && len(mounted.Leaves) == len(m.wants) && mounted.Anchors.Server != nil && mounted.Anchors.Client != nil
}

func (c *container) install(m facts.Material, asked string) {
	c.started, c.active, c.asked = true, cloneMaterial(m), asked
	if !c.deaf {
		c.reload()
	} else if l := leafOf(&c.active, facts.Client); l != nil {
		c.shows[facts.Client] = *l // libpq reads its files at each connect
		c.customs = slices.DeleteFunc(c.customs, func(p facts.Custom) bool { return p.Domain == facts.Client })
		for _, p := range c.active.Customs {
			if p.Domain == facts.Client {
				c.customs = append(c.customs, p)
			}
		}
	}
}

// reload is what a process does with what its agent has installed.
func (c *container) reload() {
	c.own = leafOf(&c.active, facts.Server).Fingerprint
	c.served = toServe(&c.active, true)
	own := cloneMaterial(c.active)
	c.shows, c.loaded, c.customs = map[facts.Domain]facts.Leaf{}, own.Anchors, own.Customs
	for _, l := range own.Leaves {
		c.shows[l.Domain] = l
	}
}

// restart replaces a pod: its memory, its annotation and what the operator knew of it are gone.
func (c *container) restart() {
	*c = container{name: c.name, primary: c.primary}
}

// heal makes everybody healthy and reachable and their processes reload.
func (w *world) heal() {
	for _, m := range w.members {
		if m.secret.State == facts.Foreign || m.secret.State == facts.Unknown {
			m.secret = facts.Material{State: facts.Missing}
		}
		for _, c := range m.pods {
			if c.deaf && c.started {
				c.reload()
			}
			c.unreachable, c.refuses, c.slow, c.deaf = false, false, false, false
		}
	}
	if w.trust.State == facts.Foreign || w.trust.State == facts.Unknown {
		w.trust = facts.Trust{State: facts.Missing}
	}
}

// forgetFailures makes the operator look again where its last handshake failed, as its pauses do.
func (w *world) forgetFailures() {
	for _, m := range w.members {
		for _, c := range m.pods {
			if slices.ContainsFunc(c.proofs, func(p facts.Proof) bool { return p.Fingerprint == "" || p.Fingerprint != toServe(&m.secret, p.Process) }) {
				c.proofs = nil // it looks at every port
			}
		}
	}
}
