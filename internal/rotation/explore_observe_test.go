package rotation

import (
	"strconv"
	"time"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// times of the exploration stand still: what has passed is noted in the world.
var (
	tinyNow    = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	tinyPast   = tinyNow.Add(-1000 * time.Hour)
	tinyFuture = tinyNow.Add(100000 * time.Hour)
)

const tinySoak = 24 * time.Hour

var tinyLife = facts.CertificatePolicy{Life: 200000 * time.Hour}

func identifier(prefix string, n uint8) string {
	if n == 0 {
		return ""
	}
	return prefix + strconv.Itoa(int(n))
}

func (w *tinyWorld) policy() facts.Policy {
	return facts.Policy{
		Authorities: map[facts.Domain]facts.CertificatePolicy{facts.Server: tinyLife, facts.Client: tinyLife},
		Rekey: map[facts.Domain]facts.RekeyPolicy{facts.Server: {
			Request: identifier("rotate ", w.request), Rollback: identifier("undo ", w.rollback), Tainted: int(w.tainted),
		}},
		RetireSoak: tinySoak,
	}
}

var tinyPodNames = [2]string{"hippo-0", "pooler-x"}

var tinyParties = [2]string{"hippo", "pooler"}

func certificate(domain facts.Domain, g int) pki.CertificateFacts {
	name := string(domain) + " g" + strconv.Itoa(g)
	return pki.CertificateFacts{Fingerprint: name, KeyID: "key of " + name, NotBefore: tinyPast, NotAfter: tinyFuture}
}

func anchorNames(mask uint8) []string {
	names := []string{} // none is not unknown
	for g := 1; g <= 3; g++ {
		if mask&bit(g) != 0 {
			names = append(names, certificate(facts.Server, g).Fingerprint)
		}
	}
	return names
}

func tinyLeaf(domain facts.Domain, fingerprint string, issuer int) facts.Leaf {
	leaf := facts.Leaf{Domain: domain}
	leaf.Fingerprint, leaf.IssuerKeyID = fingerprint, certificate(domain, issuer).KeyID
	leaf.NotBefore, leaf.NotAfter = tinyPast, tinyFuture
	return leaf
}

// observe tells the operator what it may know.
func (w *tinyWorld) observe() facts.Observed {
	o := facts.Observed{
		Ledger:         facts.Ledger{State: facts.Missing},
		Now:            tinyNow,
		Authorities:    []facts.Authority{{Domain: facts.Client, Generation: 1, Certificate: certificate(facts.Client, 1), Original: facts.Store{Present: true}, Copy: facts.Store{Present: true}}},
		GenerationSeen: map[facts.Domain]int{facts.Server: w.highestNamed(), facts.Client: 1},
		PublicTrust:    facts.Trust{State: facts.Present, Anchors: anchorNames(w.config)},
	}
	for g := 1; g <= 3; g++ {
		if a, known := w.authority(g); known {
			o.Authorities = append(o.Authorities, a)
		}
	}
	client := []string{certificate(facts.Client, 1).Fingerprint}
	if w.hidden&hiddenConfig != 0 {
		o.PublicTrust = facts.Trust{}
	}
	with := func(server uint8) facts.Bundles { return facts.Bundles{Server: anchorNames(server), Client: client} }
	for i := range w.pods {
		p := &w.pods[i]
		leaf := tinyLeaf(facts.Server, p.published.fingerprint(), p.published.issuer())
		for _, b := range p.published.chain() {
			if b != 0 {
				leaf.Chain = append(leaf.Chain, b.String())
			}
		}
		pod := facts.Pod{Name: tinyPodNames[i], Primary: i == 0, Report: &facts.Report{
			Active: p.active.revision(), ActiveUntil: tinyFuture, Loaded: with(uint8(p.trusts)),
		}}
		pod.Report.Mounted = p.mounted.revision()
		if p.asked != 0 {
			pod.Asked = p.asked.revision()
		}
		if p.provenAt != 0 {
			pod.Proofs = []facts.Proof{{Port: "postgres", Fingerprint: p.proven.fingerprint(), Revision: p.provenAt.revision()}}
		}
		party := facts.Party{
			Name: tinyParties[i], Kind: [2]*facts.Kind{party.Instance, party.Pooler}[i], Pods: []facts.Pod{pod},
			Wants:    []facts.LeafWant{{Domain: facts.Server, CertificatePolicy: tinyLife}},
			Material: facts.Material{State: facts.Present, Revision: p.published.revision(), Leaves: []facts.Leaf{leaf}, Anchors: with(p.published.anchors())},
		}
		switch {
		case p.active == 0:
			party.Pods = nil // it has not started
		case i == 0 && w.hidden&hiddenReport != 0:
			party.Pods[0].Report = nil
		}
		if i == 0 && w.hidden&hiddenMaterial != 0 {
			party.Material = facts.Material{}
		}
		o.Parties = append(o.Parties, party)
	}
	o.Parties = append(o.Parties, facts.Party{
		Name: "operator", Kind: party.Operator, Wants: []facts.LeafWant{{Domain: facts.Client, CertificatePolicy: tinyLife}},
		Material: facts.Material{
			State: facts.Present, Revision: "of the operator",
			Leaves: []facts.Leaf{tinyLeaf(facts.Client, "leaf of the operator", 1)}, Anchors: with(w.operator),
		},
	})
	if w.leftover {
		o.Leftovers = []facts.Leftover{{Party: "hippo-old", Domain: facts.Server, IssuerKeyID: certificate(facts.Server, 1).KeyID}}
	}
	for i, key := range tinyKeys {
		if w.failed&(1<<i) != 0 {
			o.Failures = append(o.Failures, facts.Failure{Step: key, Object: "the object of " + key, Cause: "QuotaExceeded", Message: "the quota is used up", RetryAt: tinyFuture})
		}
	}
	return o
}

// named are the generations that any material holds: a bit for each.
func (w *tinyWorld) named() uint8 {
	named := w.operator | w.pods[0].published.anchors() | w.pods[1].published.anchors()
	if w.leftover {
		named |= bit(1)
	}
	return named
}

// highestNamed is the highest generation that any material names.
func (w *tinyWorld) highestNamed() (highest int) {
	named := w.named()
	for g := 1; g <= 3; g++ {
		if named&bit(g) != 0 {
			highest = g
		}
	}
	return highest
}

// authority is a generation as the operator sees it. One whose Secret is gone is known as long as a leaf of it is in use.
func (w *tinyWorld) authority(g int) (facts.Authority, bool) {
	t := &w.authorities[g-1]
	a := facts.Authority{Domain: facts.Server, Generation: g, Certificate: certificate(facts.Server, g)}
	if !t.stored {
		a.Problem = reason.AuthorityLost
		used := w.pods[0].published.issuer() == g || w.pods[1].published.issuer() == g || w.leftover && g == 1
		return a, t.made && (w.operator&bit(g) != 0 || w.named()&bit(g) != 0 && used)
	}
	a.Original, a.Copy = facts.Store{Present: true}, facts.Store{Present: true}
	if t.by != 0 {
		a.Forward = tinyBridge(bridgeOf(g, int(t.by)), tinyPast, tinyFuture)
		a.Backward = tinyBridge(bridgeOf(int(t.by), g), tinyNow, tinyNow.Add(24*time.Hour))
		if t.backEnded {
			a.Backward.NotBefore, a.Backward.NotAfter = tinyNow.Add(-24*time.Hour), tinyNow
		}
	}
	if t.older != 0 {
		a.Older = tinyBridge(t.older, tinyPast, tinyFuture)
	}
	a.Answered, a.RollbackSeen = identifier("rotate ", t.answered), identifier("undo ", t.seen)
	a.RolledBack = int(t.rolledBack)
	if t.backTo != 0 {
		a.RollbackReason = reason.RolledBack
	}
	if t.rolledBack != 0 {
		a.RolledBackBy = reason.RolledBack
	}
	switch t.switched {
	case 1:
		a.SwitchedAt = tinyNow
	case 2:
		a.SwitchedAt = tinyNow.Add(-tinySoak)
	}
	for r := 1; r <= 3; r++ {
		if t.retired&bit(r) != 0 {
			a.Retired = append(a.Retired, r)
		}
	}
	return a, true
}

// trusting are the generations that a process is known to trust which the operator looks after: a bit for each.
func (w *tinyWorld) trusting() uint8 {
	trusted := w.operator | w.config
	for i := range w.pods {
		trusted |= w.pods[i].published.anchors() | uint8(w.pods[i].trusts)
	}
	return trusted
}

func tinyBridge(b bridgeID, from, until time.Time) facts.Bridge {
	pair := bridgeIDs[b]
	return facts.Bridge{Fingerprint: b.String(), KeyID: certificate(facts.Server, pair[0]).KeyID, IssuerKeyID: certificate(facts.Server, pair[1]).KeyID, NotBefore: from, NotAfter: until}
}
