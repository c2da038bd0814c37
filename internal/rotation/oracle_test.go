package rotation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// oracle is docs/rotation.md read aloud: a slow and obvious second answer to
// what is published, asked and looked at. It shares no code with Next. It walks
// over everybody for each question instead of remembering a gate.
type oracle struct {
	policy facts.Policy
	o      facts.Observed
}

// answers reports whether the oracle has something to say: it knows one generation of a domain, and neither a re-key nor what
// is planned and waits, for which there are histories and stories of their own.
func (r oracle) answers(planned plan.Plan) bool {
	if r.policy.Restricted() {
		return false
	}
	for _, domain := range facts.Domains() {
		count := 0
		for _, a := range r.o.Authorities {
			if a.Domain == domain {
				count++
			}
		}
		if count > 1 {
			return false
		}
	}
	return !slices.ContainsFunc(planned.Steps(), func(s plan.Step) bool { return isA[plan.TrustNew](s) })
}

// choice is the main part of a plan: which parties are written with which leaves, which pods are asked, and which are looked at.
type choice struct {
	Publish map[string][]facts.Domain
	Ask     []string
	Look    []string
}

// chosen reads the same out of a plan.
func chosen(planned plan.Plan) choice {
	c := choice{Publish: map[string][]facts.Domain{}}
	for _, s := range planned.Steps() {
		switch s := s.(type) {
		case plan.Publish:
			c.Publish[s.Party] = slices.Sorted(slices.Values(s.Reissue))
		case plan.Activate:
			c.Ask = append(c.Ask, s.Pod)
		case plan.Prove:
			c.Look = append(c.Look, s.Pod)
		}
	}
	slices.Sort(c.Ask)
	slices.Sort(c.Look)
	return c
}

func (r oracle) choose() choice {
	c := choice{Publish: map[string][]facts.Domain{}}
	for i := range r.o.Parties {
		if domains, publish := r.publishes(i); publish {
			c.Publish[r.o.Parties[i].Name] = domains
		}
	}
	for i := range r.o.Parties {
		for j := range r.o.Parties[i].Pods {
			pod := &r.o.Parties[i].Pods[j]
			switch {
			case r.asks(i, j):
				c.Ask = append(c.Ask, pod.Name)
			case r.looks(i, j):
				c.Look = append(c.Look, pod.Name)
			}
		}
	}
	slices.Sort(c.Ask)
	slices.Sort(c.Look)
	return c
}

// place orders the parties: operator 0, replicas 1, poolers 2, primary 3.
func (r oracle) place(i int) int {
	p := r.o.Parties[i]
	isPrimary := slices.ContainsFunc(p.Pods, func(pod facts.Pod) bool { return pod.Primary })
	switch {
	case p.Kind == party.Operator:
		return 0
	case p.Kind == party.Pooler:
		return 2
	case isPrimary:
		return 3
	}
	return 1
}

// before says that one party comes before another: by place, then as they are listed, which is by name.
func (r oracle) before(i, k int) bool {
	return r.place(i) < r.place(k) || r.place(i) == r.place(k) && i < k
}

// signer is the one authority of a domain, if it may sign now.
func (r oracle) signer(domain facts.Domain) (pki.CertificateFacts, bool) {
	var of []facts.Authority
	for _, a := range r.o.Authorities {
		if a.Domain == domain {
			of = append(of, a)
		}
	}
	if _, managed := r.policy.Authorities[domain]; !managed || len(of) != 1 || of[0].Problem != "" {
		return pki.CertificateFacts{}, false
	}
	seen := r.o.GenerationSeen[domain]
	premises := of[0].Certificate
	valid := !r.o.Now.Before(premises.NotBefore) && r.o.Now.Before(premises.NotAfter)
	return premises, valid && (seen == 0 || seen == of[0].Generation || slices.Contains(of[0].Retired, seen))
}

// writable: material holds a leaf of each wanted domain and both bundles; where
// no authority signs, nothing is wanted and there is a bundle to keep.
func (r oracle) writable(p facts.Party) bool {
	wanted := map[facts.Domain]bool{}
	for _, want := range p.Wants {
		wanted[want.Domain] = true
	}
	for _, domain := range facts.Domains() {
		_, signs := r.signer(domain)
		if keeps := !wanted[domain] && len(p.Material.Anchors.Of(domain)) > 0; !signs && !keeps {
			return false
		}
	}
	return true
}

func (r oracle) bothSign() bool {
	_, server := r.signer(facts.Server)
	_, client := r.signer(facts.Client)
	return server && client
}

// publishes says whether a party's material is written, and with which leaves anew.
func (r oracle) publishes(i int) (domains []facts.Domain, publish bool) {
	p := r.o.Parties[i]
	if p.Material.State != facts.Missing && p.Material.State != facts.Present || !r.writable(p) {
		return nil, false
	}
	repair, urgent := p.Material.State == facts.Missing || p.Material.Altered, false
	for _, want := range p.Wants {
		premises, _ := r.signer(want.Domain)
		leaf := leafOf(&p.Material, want.Domain)
		wrong, old := r.wrong(p, want, leaf, premises), r.old(p, want, leaf, premises)
		if wrong || old {
			domains = append(domains, want.Domain)
		}
		repair = repair || wrong
		if leaf != nil && leaf.Problem == "" && !r.o.Now.Before(leaf.NotAfter.Add(-want.RenewBefore/2)) {
			urgent = true
		}
	}
	for _, domain := range facts.Domains() {
		premises, signs := r.signer(domain)
		if signs && !slices.Equal(p.Material.Anchors.Of(domain), []string{premises.Fingerprint}) {
			repair = true
		}
	}
	slices.Sort(domains)
	switch {
	case repair:
		return domains, true
	case len(domains) == 0:
		return nil, false
	}
	return domains, urgent || r.everybodyBefore(i, -1)
}

// wrong: a leaf that no pod should serve any longer.
func (r oracle) wrong(p facts.Party, want facts.LeafWant, leaf *facts.Leaf, signer pki.CertificateFacts) bool {
	if p.Material.State == facts.Missing || leaf == nil || leaf.Problem != "" {
		return true
	}
	for _, name := range want.DNSNames {
		if !slices.Contains(leaf.DNSNames, name) {
			return true
		}
	}
	for _, ip := range want.IPs {
		if !slices.Contains(leaf.IPs, ip) {
			return true
		}
	}
	return leaf.Subject != "CN="+want.CommonName || leaf.IssuerKeyID != signer.KeyID ||
		r.o.Now.Before(leaf.NotBefore) || leaf.NotAfter.After(signer.NotAfter)
}

// old: a leaf that can wait for its turn to be replaced.
func (r oracle) old(p facts.Party, want facts.LeafWant, leaf *facts.Leaf, signer pki.CertificateFacts) bool {
	if leaf == nil {
		return false
	}
	requested := r.policy.RenewRequest != "" && r.policy.RenewRequest != p.Material.Answered
	due := !r.o.Now.Before(pki.RenewalTime(leaf.NotBefore, leaf.NotAfter, want.RenewBefore, p.Name+"/"+string(want.Domain)))
	return requested || leaf.Algorithm != want.Algorithm || due && leaf.NotAfter.Before(signer.NotAfter)
}

// everybodyBefore says that all pods before a party, or before pod j of it, are settled and stay so.
func (r oracle) everybodyBefore(i, j int) bool {
	for k, p := range r.o.Parties {
		if p.Material.State == facts.Foreign {
			continue
		}
		for n := range p.Pods {
			earlier := r.before(k, i) || k == i && n < j
			if earlier && !r.stays(k, n) {
				return false
			}
		}
		if p.Material.State == facts.Unknown && r.before(k, i) {
			return false
		}
	}
	return true
}

// stays says that a pod is settled and that nothing new is about to be published for it.
func (r oracle) stays(i, j int) bool {
	_, publish := r.publishes(i)
	return !publish && r.settled(i, j)
}

func (r oracle) settled(i, j int) bool {
	p := r.o.Parties[i]
	pod := p.Pods[j]
	return pod.Report != nil && pod.Report.Active == p.Material.Revision && !r.holdsAnother(i, j) && r.seen(i, j)
}

// holdsAnother: the kubelet has brought the agent something that it does not use.
func (r oracle) holdsAnother(i, j int) bool {
	report := r.o.Parties[i].Pods[j].Report
	return report != nil && report.Mounted != "" && report.Mounted != report.Active
}

func (r oracle) seen(i, j int) bool {
	p := r.o.Parties[i]
	pod := p.Pods[j]
	leaf := leafOf(&p.Material, facts.Server)
	if leaf == nil {
		return false
	}
	seen := 0
	for _, proof := range pod.Proofs {
		shown := toServe(&p.Material, proof.Process)
		if proof.Revision == p.Material.Revision && proof.Fingerprint == shown && shown != "" {
			seen++
		}
	}
	return seen > 0 && seen == len(pod.Proofs)
}

// inDoubt says that some pod other than one was asked for what its Secret holds and was not seen to serve it.
func (r oracle) inDoubt(i, j int) bool {
	for k, p := range r.o.Parties {
		for n, pod := range p.Pods {
			other := k != i || n != j
			if other && p.Material.State == facts.Present && pod.Asked == p.Material.Revision && !r.seen(k, n) {
				return true
			}
		}
	}
	return false
}

// whole says that a party's material could be used by a pod.
func (r oracle) whole(i int) bool {
	p := r.o.Parties[i]
	for _, want := range p.Wants {
		if leaf := leafOf(&p.Material, want.Domain); leaf == nil || leaf.Problem != "" {
			return false
		}
	}
	for _, c := range p.Material.Customs {
		if c.Problem != "" {
			return false
		}
	}
	return p.Material.State == facts.Present && !p.Material.Altered && len(p.Material.Anchors.Server) > 0 && len(p.Material.Anchors.Client) > 0
}

func (r oracle) asks(i, j int) bool {
	p := r.o.Parties[i]
	pod := p.Pods[j]
	if pod.Report == nil || p.Material.State == facts.Foreign || p.Material.State == facts.Unknown || !r.bothSign() {
		return false
	}
	if r.revived(i) && !r.urgent(i, j) {
		return false
	}
	if _, publish := r.publishes(i); publish {
		return j == 0 && r.mayBeAsked(i, j) && !r.doubtOfItself(i, j)
	}
	return !r.settled(i, j) && r.whole(i) && (pod.Report.Active != p.Material.Revision || r.holdsAnother(i, j)) && pod.Asked != p.Material.Revision && r.mayBeAsked(i, j)
}

// revived: the material of this party, or of one before, is written without a new leaf: it may be what a pod was asked for before
// and does not use, and then two would be in doubt.
func (r oracle) revived(i int) bool {
	for k, p := range r.o.Parties {
		domains, publish := r.publishes(k)
		unfulfilled := slices.ContainsFunc(p.Pods, func(pod facts.Pod) bool {
			return pod.Asked != "" && (pod.Report == nil || pod.Report.Active != pod.Asked || pod.Report.Mounted != "" && pod.Report.Mounted != pod.Report.Active)
		})
		if (k == i || r.before(k, i)) && publish && len(domains) == 0 && unfulfilled {
			return true
		}
	}
	return false
}

// accepted: every bundle that can be read holds the authority of each domain that a party presents in.
func (r oracle) accepted(i int) bool {
	for _, want := range r.o.Parties[i].Wants {
		signer, signs := r.signer(want.Domain)
		for _, p := range r.o.Parties {
			held := p.Material.Anchors.Of(want.Domain)
			if signs && held != nil && p.Material.State != facts.Foreign && !slices.Contains(held, signer.Fingerprint) {
				return false
			}
		}
	}
	return true
}

// mayBeAsked is the gate of Activate.
func (r oracle) mayBeAsked(i, j int) bool {
	return r.urgent(i, j) || r.everybodyBefore(i, j) && !r.inDoubt(i, j) && r.accepted(i)
}

// doubtOfItself: the pod is asked for what the Secret holds now, and that is
// about to change: it is asked again when the change was read back.
func (r oracle) doubtOfItself(i, j int) bool {
	p := r.o.Parties[i]
	asked := p.Material.State == facts.Present && p.Pods[j].Asked == p.Material.Revision && !r.seen(i, j)
	return asked && !r.urgent(i, j)
}

func (r oracle) urgent(i, j int) bool {
	p := r.o.Parties[i]
	report := p.Pods[j].Report
	if report == nil || report.ActiveUntil.IsZero() || len(p.Wants) == 0 {
		return false
	}
	half := time.Duration(1<<63 - 1)
	for _, want := range p.Wants {
		half = min(half, want.RenewBefore/2)
	}
	return report.ActiveUntil.Sub(r.o.Now) <= half
}

func (r oracle) looks(i, j int) bool {
	p := r.o.Parties[i]
	pod := p.Pods[j]
	if _, publish := r.publishes(i); publish || !r.whole(i) || r.settled(i, j) {
		return false
	}
	looked := len(pod.Proofs) > 0 && !slices.ContainsFunc(pod.Proofs, func(proof facts.Proof) bool { return proof.Revision != p.Material.Revision })
	return pod.Report != nil && pod.Report.Active == p.Material.Revision && !looked && !r.holdsAnother(i, j)
}

// TestAgreement compares Next with the oracle on random observations: whatever a
// few random facts make of the settled world.
func TestAgreement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := randomWorld(t)
		o := w.observe()
		planned, err := Next(w.policy, o)
		if err != nil {
			t.Fatal(err)
		}
		second := oracle{w.policy, o}
		if !second.answers(planned) {
			t.Skip("a re-key")
		}
		if diff := cmp.Diff(second.choose(), chosen(planned)); diff != "" {
			t.Fatalf("-oracle +Next:\n%s", diff)
		}
	})
}

// randomWorld is the settled one with up to eight random facts.
func randomWorld(t *rapid.T) *world {
	w := settledWorld()
	parties := []string{"operator", "db-0", "db-1", "db-2", "pgbouncer"}
	pods := []string{"db-0-0", "db-1-0", "db-2-0", "pgbouncer-x", "pgbouncer-y"}
	of := func(values []string) string { return values[rapid.IntRange(0, len(values)-1).Draw(t, "which")] }
	for range rapid.IntRange(0, 8).Draw(t, "facts") {
		party, pod := of(parties), of(pods)
		domain := facts.Domains()[rapid.IntRange(0, 1).Draw(t, "domain")]
		started := func(f fact) fact {
			if _, c := w.pod(pod); !c.started {
				return func(*world) {}
			}
			return f
		}
		whole := func(f fact) fact {
			if m := w.member(party); m.secret.State != facts.Present || m.leaf(domain) == nil || m.leaf(facts.Client) == nil {
				return func(*world) {}
			}
			return f
		}
		activatable := func(f fact) fact {
			if m, _ := w.pod(pod); m.secret.State != facts.Present || m.leaf(facts.Server) == nil || m.leaf(facts.Client) == nil {
				return func(*world) {}
			}
			return f
		}
		premises := []fact{
			secretGone(party), whole(blanked(party)), whole(garbled(party, domain)), whole(altered(party)), whole(withoutLeaf(party, domain)),
			whole(leafOfStranger(party, domain)), whole(bundleGone(party, domain)), whole(bundleReplaced(party, domain, "stranger")),
			foreignSecret(party), unreadableSecret(party), published(party), whole(due(party, domain)), whole(urgent(party)),
			whole(endsIn(party, domain, time.Duration(rapid.IntRange(-2, 40).Draw(t, "days"))*day)),
			wantsName(party, "extra"), wantsAlgorithm(party, domain, pki.RSA2048), renewRequested(fmt.Sprint(domain)),

			asked(pod), activatable(activated(pod)), activatable(selfActivated(pod)), started(proven(pod)), unproven(pod), unreachable(pod), refusing(pod), notStarted(pod),
			servesOld(pod), portSilent(pod, "patroni"),
			func(w *world) { w.failover(party) }, everythingUrgent,
		}
		if rapid.IntRange(0, 9).Draw(t, "authority") == 0 {
			premises = append(premises, authorityProblem(domain, reason.AuthorityUnreadable), authorityEndsIn(domain, 20*day), later(-3*time.Hour))
			premises[len(premises)-1-rapid.IntRange(0, 2).Draw(t, "what")](w)
			continue
		}
		premises[rapid.IntRange(0, len(premises)-1).Draw(t, "fact")](w)
	}
	return w
}

// everythingUrgent brings the last days of every client leaf.
func everythingUrgent(w *world) { w.now = w.now.Add(26 * day) }
