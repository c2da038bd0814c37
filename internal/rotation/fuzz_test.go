package rotation

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// FuzzNext reads any bytes as an observation, also ones that no cluster can
// give. Next must not panic, must not change what it is given, must decide the
// same twice, and must plan nothing that Check refuses.
func FuzzNext(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("an ordinary cluster of which little is known"))
	for seed := range 40 {
		bytes := make([]byte, 400)
		for i := range bytes {
			bytes[i] = byte(i*i*(seed+3) + i*seed)
		}
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		policy, o := (&reader{data: data}).observation()
		policyBefore, before := (&reader{data: data}).observation()
		planned, err := Next(policy, o)
		again, errAgain := Next(policy, o)
		if !reflect.DeepEqual(planned, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("decides otherwise the second time, %v and %v:\n%+v\n%+v", err, errAgain, planned, again)
		}
		if !reflect.DeepEqual(o, before) || !reflect.DeepEqual(policy, policyBefore) {
			t.Fatal("changes what it was given")
		}
		if err != nil {
			if !reflect.DeepEqual(planned, plan.Plan{}) {
				t.Fatalf("a plan with the error %v", err)
			}
			return
		}
		allowed(t, policy, o, planned)
	})
}

// allowed says that every step may be taken, in its order. What Publish would make is known from the step, except for the
// certificates: those are taken for good.
func allowed(t failer, policy facts.Policy, o facts.Observed, planned plan.Plan) {
	t.Helper()
	published := map[string]plan.Publish{}
	for _, s := range planned.Steps() {
		fresh := afterPublish(o, published)
		publish, publishes := s.(plan.Publish)
		activate, activates := s.(plan.Activate)
		if activates && activate.Revision == "" {
			activate.Revision = fresh.Party(activate.Party).Material.Revision
			s = activate
		}
		v := invariant.Check(&fresh, s)
		switch { // two of them wait for a pod that has loaded something odd
		case v == nil, activates && (v.Invariant == "MutualTrust" || doubleFault(policy, o)), publishes && v.Invariant == "TrustBeforeUse":
		default:
			t.Fatalf("%s is planned and refused: %v", s, v)
		}
		if publishes {
			published[publish.Party] = publish
		}
	}
}

// doubleFault: an authority that cannot sign is being replaced, and some party has lost its leaf too, so that its bundle
// cannot be written. Then Check alone holds up a pod that would not be trusted there.
func doubleFault(policy facts.Policy, o facts.Observed) bool {
	sets := derive(policy, o)
	for i := range o.Parties {
		for _, want := range o.Parties[i].Wants {
			leaf := leafOf(&o.Parties[i].Material, want.Domain)
			if sets.Active(want.Domain) == nil && sets.Anchors(want.Domain) != nil && (leaf == nil || leaf.Problem != "") {
				return true
			}
		}
	}
	return false
}

// TestWalkRandomObservations is the fuzz target and the second opinion over many
// random bytes, the same in every run. It counts what was decided, so that it
// cannot come to look at nothing.
func TestWalkRandomObservations(t *testing.T) {
	decided, compared := map[string]int{}, 0
	for seed := range uint64(20000) {
		bytes := make([]byte, 400)
		random := rand.New(rand.NewPCG(seed, 0))
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		policy, o := (&reader{data: bytes}).observation()
		planned, err := Next(policy, o)
		if err != nil {
			continue
		}
		for _, s := range planned.Steps() {
			decided[s.Op()]++
		}
		allowed(t, policy, o, planned)
		if second := (oracle{policy, o}); second.answers(planned) {
			compared++
			if diff := cmp.Diff(second.choose(), chosen(planned)); diff != "" {
				t.Errorf("seed %d (-oracle +Next):\n%s", seed, diff)
			}
		}
		if planned.Empty() && !bridged(o) {
			changesExactlyAtWake(t, policy, o)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if compared < 5000 {
		t.Errorf("only %d plans were compared with the oracle's", compared)
	}
	for _, op := range []string{"CreateAuthority", "TrustNew", "DropOld", "RestoreAuthority", "PublishTrust", "Publish", "Activate", "Prove"} {
		if decided[op] < 100 {
			t.Errorf("%s was decided %d times only", op, decided[op])
		}
	}
	for _, op := range []string{"SwitchSigner", "RollBack", "DiscardAuthority"} {
		if decided[op] < 10 {
			t.Errorf("%s was decided %d times only", op, decided[op])
		}
	}
}

// bridged: the operator also wakes for the end of a bridge that no leaf is shown with.
func bridged(o facts.Observed) bool {
	return slices.ContainsFunc(o.Authorities, func(a facts.Authority) bool {
		return a.Forward != facts.Bridge{} || a.Backward != facts.Bridge{} || a.Older != facts.Bridge{}
	})
}

func mustPass(t failer, o facts.Observed, s plan.Step) {
	t.Helper()
	if v := invariant.Check(&o, s); v != nil {
		t.Fatalf("%s is planned and refused: %v", s, v)
	}
}

// afterPublish is an observation in which some parties have new and right material.
func afterPublish(o facts.Observed, published map[string]plan.Publish) facts.Observed {
	o.Parties = slices.Clone(o.Parties)
	for i := range o.Parties {
		p := &o.Parties[i]
		step, is := published[p.Name]
		if !is {
			continue
		}
		m := facts.Material{State: facts.Present, Revision: "new " + p.Name, Anchors: p.Material.Anchors}
		for _, domain := range facts.Domains() {
			if anchors := step.Anchors.Of(domain); anchors != nil {
				m.Anchors.Set(domain, anchors)
			}
			signer := o.Authority(domain, step.Active.Of(domain))
			for _, want := range p.Wants {
				if want.Domain == domain && signer != nil {
					m.Leaves = append(m.Leaves, facts.Leaf{Domain: domain, CertificateFacts: pki.CertificateFacts{
						IssuerKeyID: signer.Certificate.KeyID, NotAfter: signer.Certificate.NotAfter}})
				} else if kept := leafOf(&p.Material, domain); want.Domain == domain && kept != nil {
					leaf := *kept
					if issuer := issuerOf(&o, domain, leaf.IssuerKeyID); issuer != nil && leaf.NotAfter.After(issuer.Certificate.NotAfter) {
						leaf.NotAfter = issuer.Certificate.NotAfter // the agent refuses any other
					}
					m.Leaves = append(m.Leaves, leaf)
				}
			}
		}
		p.Material = m
	}
	return o
}

func issuerOf(o *facts.Observed, domain facts.Domain, keyID string) *facts.Authority {
	for i := range o.Authorities {
		if a := &o.Authorities[i]; a.Domain == domain && a.Certificate.KeyID == keyID {
			return a
		}
	}
	return nil
}

// reader turns bytes into choices; where they end every choice is the first.
type reader struct{ data []byte }

func (r *reader) n(below int) int {
	if len(r.data) == 0 {
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return int(b) % below
}

func (r *reader) flag() bool { return r.n(2) == 1 }

func (r *reader) text(choices ...string) string { return choices[r.n(len(choices))] }

// time is near the dawn, and zero now and then.
func (r *reader) time() time.Time {
	if r.n(16) == 15 {
		return time.Time{}
	}
	return dawn.Add(time.Duration(r.n(200)-100) * day)
}

func (r *reader) observation() (facts.Policy, facts.Observed) {
	policy := facts.Policy{RenewRequest: r.text("", "one", "two"), Authorities: map[facts.Domain]facts.CertificatePolicy{}}
	o := facts.Observed{Now: dawn.Add(time.Duration(r.n(60)) * day), GenerationSeen: map[facts.Domain]int{}, Ledger: facts.Ledger{State: facts.Missing}}
	for _, domain := range facts.Domains() {
		if r.n(8) != 7 {
			policy.Authorities[domain] = facts.CertificatePolicy{Life: time.Duration(1-r.n(200)/199) * day}
		}
		o.GenerationSeen[domain] = mostly1[r.n(len(mostly1))]
		swap := r.n(8) == 7
		for i := range mostly1[r.n(len(mostly1))] {
			o.Authorities = append(o.Authorities, r.authority(domain, i, swap))
		}
	}
	o.PublicTrust = facts.Trust{State: r.state(), Anchors: r.anchors()}
	for i := range r.n(5) {
		o.Parties = append(o.Parties, r.party(i))
	}
	if r.n(3) == 2 {
		r.wishes(&policy)
	}
	if r.n(8) == 7 {
		o.Leftovers = []facts.Leftover{{Party: "party-9", Domain: facts.Server, IssuerKeyID: r.text("a", "b")}}
	}
	return policy, o
}

// wishes are those of a person about authorities.
func (r *reader) wishes(policy *facts.Policy) {
	policy.RetireSoak, policy.RetireManual, policy.Paused = time.Duration(r.n(3))*day, r.n(4) == 3, r.n(4) == 3
	policy.Rekey = map[facts.Domain]facts.RekeyPolicy{}
	for _, domain := range facts.Domains() {
		policy.Rekey[domain] = facts.RekeyPolicy{Request: r.text("", "", "1"), Rollback: r.text("", "", "1"), Tainted: r.n(4), Approved: r.n(4)}
	}
}

// bridge is between the two keys that there are.
func (r *reader) bridge() facts.Bridge {
	if r.n(3) != 2 {
		return facts.Bridge{}
	}
	return facts.Bridge{Fingerprint: r.text("a-by-b", "b-by-a"), KeyID: r.text("a", "b"), IssuerKeyID: r.text("b", "a"), NotBefore: r.time(), NotAfter: r.time().Add(50 * day)}
}

// mostly1 are generations, and numbers of them.
var mostly1 = []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2}

// authority is the i-th of a domain: each has its own generation and key.
func (r *reader) authority(domain facts.Domain, i int, swap bool) facts.Authority {
	key := []string{"a", "b"}[i]
	if swap {
		key = []string{"b", "a"}[i]
	}
	a := facts.Authority{Domain: domain, Generation: i + mostly1[r.n(len(mostly1))], Problem: reason.Code(r.text("", "", "", "", "", "", "", string(reason.AuthorityUnreadable))),
		Certificate: pki.CertificateFacts{KeyID: key, Fingerprint: key, NotBefore: dawn.Add(-100 * day), NotAfter: r.time().Add(100 * day)},
		Original:    facts.Store{Present: r.flag(), Deleting: r.flag()}, Copy: facts.Store{Present: r.flag(), Deleting: r.flag()}}
	switch r.n(8) {
	case 5:
		a.SwitchedAt = dawn
	case 6:
		a.RolledBack = a.Generation + 1
	case 7:
		a.Retired = []int{a.Generation - 1}
	}
	a.Forward, a.Backward, a.Older = r.bridge(), r.bridge(), r.bridge()
	if i > 0 {
		a.Generation = 3
	}
	return a
}

func (r *reader) state() facts.MaterialState {
	return facts.MaterialState(r.text(string(facts.Present), string(facts.Present), string(facts.Present), string(facts.Missing), string(facts.Foreign), string(facts.Unknown)))
}

func (r *reader) anchors() []string {
	return [][]string{{"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"b"}, {"a", "b"}, {}, nil}[r.n(10)]
}

// party wants what the parties of docs/rotation.md want.
func (r *reader) party(i int) facts.Party {
	p := facts.Party{Name: fmt.Sprintf("party-%d", i), Kind: party.Named(r.text(party.Instance.Name, party.Pooler.Name, party.Operator.Name))}
	domains := facts.Domains()
	if p.Kind == party.Operator {
		domains = domains[1:]
	}
	p.Material = facts.Material{State: r.state(), Revision: r.text("r1", "r2", ""), Answered: r.text("", "one"), Altered: r.n(8) == 7}
	for _, domain := range facts.Domains() {
		if r.n(6) != 5 {
			p.Material.Anchors.Set(domain, r.anchors())
		}
	}
	for _, domain := range domains {
		p.Wants = append(p.Wants, r.want(domain))
		if r.n(6) != 5 {
			p.Material.Leaves = append(p.Material.Leaves, r.leaf(domain))
		}
	}
	if p.Material.State != facts.Present {
		p.Material = facts.Material{State: p.Material.State}
	}
	if p.Kind != party.Operator {
		for j := range r.n(4) {
			p.Pods = append(p.Pods, r.pod(i, j))
		}
	}
	return p
}

func (r *reader) want(domain facts.Domain) facts.LeafWant {
	return facts.LeafWant{Domain: domain, CommonName: "cn", DNSNames: [][]string{nil, {"a"}, {"a", "b"}}[r.n(3)],
		CertificatePolicy: facts.CertificatePolicy{Life: time.Duration(1+r.n(90)) * day, RenewBefore: time.Duration(r.n(40)) * 12 * time.Hour, Algorithm: pki.Algorithms()[r.n(2)]}}
}

func (r *reader) leaf(domain facts.Domain) facts.Leaf {
	return facts.Leaf{Domain: domain, Problem: r.text("", "", "", "", string(pki.KeyMismatch), string(pki.Expired)), CertificateFacts: pki.CertificateFacts{
		Subject: r.text("CN=cn", "CN=cn", "CN=cn", ""), IssuerKeyID: r.text("a", "a", "a", "b"), Algorithm: pki.Algorithms()[r.n(2)], Fingerprint: r.text("leaf", "other", ""),
		NotBefore: r.time(), NotAfter: r.time().Add(30 * day), DNSNames: [][]string{nil, {"a"}, {"a", "b"}}[r.n(3)]}}
}

func (r *reader) pod(i, j int) facts.Pod {
	pod := facts.Pod{Name: fmt.Sprintf("party-%d-%d", i, j), Primary: r.n(4) == 3, Asked: r.text("", "r1", "r2")}
	if r.n(5) != 4 {
		pod.Report = &facts.Report{Active: r.text("r1", "r2", ""), ActiveUntil: r.time(), ProblemReason: r.text("", "ReloadFailed"),
			Loaded: facts.Bundles{Server: r.anchors(), Client: r.anchors()}}
		if r.n(8) == 7 {
			pod.Report.Mounted = r.text("r1", "r2")
		}
	}
	for range r.n(3) {
		pod.Proofs = append(pod.Proofs, facts.Proof{Port: "port", Fingerprint: r.text("leaf", "other", ""), Revision: r.text("r1", "r2", "")})
	}
	return pod
}
