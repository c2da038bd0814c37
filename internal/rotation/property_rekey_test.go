package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// TestWalkRekeyHistories lets random things happen while both domains are re-keyed, again and again: undone, tainted, lost,
// expired; crashes after any write, stale reads, members that come and go, agents that fail, a clock that jumps.
// After every step and every agent's turn the world itself is looked at, without the code under test: a process that verifies
// accepts whatever he may be shown. In the end everybody is healthy, and one authority of each domain is left.
func TestWalkRekeyHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newRekeyHistory(t)
		t.Repeat(h.actions())
		h.comesToRest(t)
	})
}

// rekeyHistory is a history without damage: what a pod loads is what was published for it.
type rekeyHistory struct {
	history
	broken  string // the first rule that the world broke
	decides Rules  // a guard may be left out by a test
	ids     int    // of wishes
	lost    map[facts.Domain]bool
}

func newRekeyHistory(t *rapid.T) *rekeyHistory {
	h := &rekeyHistory{history: history{w: settledWorld(), urgentWhenAsked: map[string]bool{}}, decides: Standard(), lost: map[facts.Domain]bool{}}
	h.w.policy.RetireSoak = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 48}).Draw(t, "soak")) * time.Hour
	h.w.after = h.look
	h.remember()
	return h
}

func (h *rekeyHistory) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":                 h.rules,
		"round":            func(t *rapid.T) { h.round(t, all) },
		"rounds":           func(t *rapid.T) { h.rounds(t, rapid.IntRange(2, 30).Draw(t, "rounds")) },
		"crash in a plan":  func(t *rapid.T) { h.round(t, rapid.IntRange(0, 3).Draw(t, "steps")); h.forgetProofs() },
		"round, staleness": h.staleRound,
		"watch catches up": func(*rapid.T) { h.remember() },
		"hours pass":       h.pass,
		"agents":           func(*rapid.T) { h.w.agents() },
		"trouble":          h.trouble,
		"all healthy":      func(*rapid.T) { h.w.heal() },
		"member":           h.membership,
		"wish for a rekey": h.wishRekey,
		"Secret deleted":   func(t *rapid.T) { h.deleteAuthority(t) },
		"Secret lost":      h.lose,
	}
}

func (h *rekeyHistory) domain(t *rapid.T) facts.Domain {
	return rapid.SampledFrom(facts.Domains()).Draw(t, "domain")
}

// round decides afresh, compares with the second opinion and executes the first steps.
func (h *rekeyHistory) round(t *rapid.T, steps int) plan.Plan {
	o := h.w.observe()
	planned, err := h.decides.Next(h.w.policy, o)
	if err != nil {
		t.Fatalf("deciding: %v", err)
	}
	if diff := (rekeyOracle{h.w.policy, o}).differs(planned); diff != "" {
		t.Fatalf("the second opinion: %s", diff)
	}
	if err := h.w.run(planned, steps); err != nil {
		t.Fatal(err)
	}
	return planned
}

func (h *rekeyHistory) rounds(t *rapid.T, n int) {
	for range n {
		h.w.forgetFailures()
		h.round(t, all)
	}
}

func (h *rekeyHistory) staleRound(t *rapid.T) {
	o := h.w.observe()
	for i := range o.Parties {
		for j, pod := range o.Parties[i].Pods {
			if old, remembered := h.stale[pod.Name]; remembered {
				o.Parties[i].Pods[j] = old
			}
		}
	}
	planned, err := h.decides.Next(h.w.policy, o)
	if err != nil {
		t.Fatalf("deciding: %v", err)
	}
	_ = h.w.run(planned, all) // what Check refuses on fresh facts is dropped with the rest, as the operator does; the world is looked at
}

func (h *rekeyHistory) pass(t *rapid.T) {
	for range rapid.IntRange(1, 60).Draw(t, "hours") {
		h.w.now = h.w.now.Add(time.Hour)
		h.w.agents()
	}
}

func (h *rekeyHistory) wishRekey(t *rapid.T) {
	domain := h.domain(t)
	all := h.w.generations(domain)
	newest := all[len(all)-1].generation
	h.ids++
	id := fmt.Sprint(h.ids)
	switch rapid.SampledFrom([]string{"request", "request", "request", "rollback", "rollback", "taint", "approve"}).Draw(t, "wish") {
	case "request":
		rekeyRequested(domain, id)(h.w)
	case "rollback":
		rollbackRequested(domain, id)(h.w)
	case "taint":
		tainted(domain, rapid.IntRange(max(1, newest-1), newest).Draw(t, "generation"))(h.w)
	case "approve":
		approved(domain, rapid.IntRange(max(1, newest-1), newest).Draw(t, "generation"))(h.w)
	}
}

// lose takes the newest authority's Secret away: once in a domain, since two lost ones at once leave no authority to sign.
func (h *rekeyHistory) lose(t *rapid.T) {
	if domain := h.domain(t); !h.lost[domain] {
		h.lost[domain] = true
		secretLost(domain)(h.w)
	}
}

func (h *rekeyHistory) rules(t *rapid.T) {
	if h.broken != "" {
		t.Fatalf("%s\n%s", h.broken, strings.Join(h.w.log[max(0, len(h.w.log)-40):], "\n"))
	}
}

// look checks the world; the first broken rule is told by rules.
func (h *rekeyHistory) look() {
	if h.broken != "" {
		return
	}
	for _, domain := range facts.Domains() {
		for _, rule := range []func(facts.Domain) string{h.mutualTrust, h.useBeforeRetire, h.leafWithinAuthority, h.oneSigner} {
			if text := rule(domain); text != "" {
				h.broken = text
				return
			}
		}
	}
}

// holder is a process that verifies.
type holder struct {
	name    string
	anchors []string
}

// holders are all who verify what is presented in a domain: every process, the operator, and a client that reads the ConfigMap now.
func (h *rekeyHistory) holders(domain facts.Domain) (holders []holder) {
	for _, m := range h.w.members {
		if m.kind == party.Operator && domain == facts.Server {
			holders = append(holders, holder{m.name, m.secret.Anchors.Of(domain)})
		}
		for _, c := range m.pods {
			if c.started {
				holders = append(holders, holder{c.name, c.loaded.Of(domain)})
			}
		}
	}
	if domain == facts.Server {
		holders = append(holders, holder{"a client that reads the ConfigMap", h.w.trust.Anchors})
	}
	return holders
}

// shown are the leaves that are presented in a domain, by whom.
func (h *rekeyHistory) shown(domain facts.Domain) map[string]facts.Leaf {
	shown := map[string]facts.Leaf{}
	for _, m := range h.w.members {
		if l := m.leaf(domain); l != nil && m.kind == party.Operator {
			shown[m.name] = *l
		}
		for _, c := range m.pods {
			if l, shows := c.shows[domain]; shows && c.started {
				shown[c.name] = l
			}
		}
	}
	return shown
}

// mutualTrust: every verifier accepts whatever is presented: it holds its authority, or a bridge leads from it to one that
// it holds. The bridges' names say which authorities they are about and which signed them.
func (h *rekeyHistory) mutualTrust(domain facts.Domain) string {
	for by, leaf := range h.shown(domain) {
		for _, v := range h.holders(domain) {
			at, accepted := strings.TrimSuffix(leaf.IssuerKeyID, "-key"), false
			for _, bridge := range append([]string{""}, leaf.Chain...) {
				if about, signer, isBridge := strings.Cut(bridge, "-by-"); isBridge && about == at {
					at = signer
				}
				accepted = accepted || slices.Contains(v.anchors, at)
			}
			if !accepted && v.name != by {
				return fmt.Sprintf("MutualTrust: %s trusts %v and refuses %s, which shows a leaf of %s with %v", v.name, v.anchors, by, leaf.IssuerKeyID, leaf.Chain)
			}
		}
	}
	return ""
}

// useBeforeRetire: no party presents a leaf of an authority that was dropped from trust.
func (h *rekeyHistory) useBeforeRetire(domain facts.Domain) string {
	for _, a := range h.w.generations(domain) {
		for by, leaf := range h.shown(domain) {
			number := 0
			fmt.Sscanf(strings.TrimPrefix(leaf.IssuerKeyID, string(domain)), "-g%d-key", &number)
			if slices.Contains(a.marks.Retired, number) {
				return fmt.Sprintf("UseBeforeRetire: %s shows a leaf of %s g%d, which g%d has dropped", by, domain, number, a.generation)
			}
		}
	}
	return ""
}

func (h *rekeyHistory) leafWithinAuthority(domain facts.Domain) string {
	for by, leaf := range h.shown(domain) {
		if a := h.w.find(domain, leaf.IssuerKeyID); a != nil && leaf.NotAfter.After(a.certificate.NotAfter) {
			return fmt.Sprintf("LeafWithinAuthority: %s shows a leaf that outlives %s g%d", by, domain, a.generation)
		}
	}
	return ""
}

// oneSigner: no generation is made twice, and at most two are stored that were not dropped or rolled back.
func (h *rekeyHistory) oneSigner(domain facts.Domain) string {
	numbers := map[int]bool{}
	live := 0
	for _, a := range h.w.trusted(domain) {
		if numbers[a.generation] {
			return fmt.Sprintf("OneSigner: there are two %s g%d", domain, a.generation)
		}
		numbers[a.generation] = true
		if a.stored() {
			live++
		}
	}
	if live > 3 {
		return fmt.Sprintf("OneSigner: %d %s authorities are there at once", live, domain)
	}
	return ""
}

// busy plays a round and reports whether there was a step.
func (h *rekeyHistory) busy(t *rapid.T) bool {
	planned := h.round(t, all)
	return !planned.Empty()
}

// boundedRest plays rounds until there is no step.
func (h *rekeyHistory) boundedRest(t *rapid.T) {
	h.w.forgetFailures()
	bound := h.w.roundsToRest() // of what there is now: the anchors are fewer afterwards
	for n := 0; h.busy(t); n++ {
		if n > bound {
			t.Fatalf("BoundedProgress: no rest after %d rounds:\n%s", n, strings.Join(h.w.log[max(0, len(h.w.log)-30):], "\n"))
		}
	}
	h.rules(t)
}

// comesToRest: with everybody healthy, in a bounded number of rounds and some days, one authority of each domain is left, and
// everything is of it.
func (h *rekeyHistory) comesToRest(t *rapid.T) {
	h.w.heal()
	h.w.agents()
	for _, r := range facts.Domains() {
		wishes := h.w.policy.Rekey[r]
		wishes.Rollback = "" // or it would be undone again
		h.w.policy.Rekey[r] = wishes
	}
	h.boundedRest(t)
	planned := h.round(t, all)
	for n := 0; len(planned.Rekeys) > 0 && n < 30; n++ { // some soaks, one after the other
		h.w.now = h.w.now.Add(12 * time.Hour)
		h.w.agents()
		h.boundedRest(t)
		planned = h.round(t, all)
	}
	for _, domain := range facts.Domains() {
		signer := h.w.generation(domain, planned.Active.Of(domain))
		anchors := derive(h.w.policy, h.w.observe()).Anchors(domain)
		if planned.State != plan.Steady || signer == nil || !slices.Equal(anchors, []string{signer.certificate.Fingerprint}) {
			t.Fatalf("BoundedProgress: at rest, healthy, and %s; %s: g%d signs, trusted %v\n%s\n%s", planned.State, domain, planned.Active.Of(domain), anchors,
				strings.Join(words(planned), "\n"), strings.Join(h.w.log[max(0, len(h.w.log)-30):], "\n"))
		}
		for by, leaf := range h.shown(domain) {
			if leaf.IssuerKeyID != signer.certificate.KeyID {
				t.Fatalf("at rest, and %s shows a leaf of %s", by, leaf.IssuerKeyID)
			}
		}
	}
}
