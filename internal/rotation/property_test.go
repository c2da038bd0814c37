package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// TestWalkHistories lets random things happen to a random cluster, in random order:
// crashes in the middle of a plan, stale reads, members that come and go,
// agents that fail, damage by hand, wishes of the user, a clock that jumps.
// Whatever happens, every planned step passes Check on a fresh observation, and
// the rules below hold, which are written without the code under test. In the
// end everybody is healthy, and the cluster comes to rest.
func TestWalkHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		t.Repeat(h.actions())
		h.boundedProgress(t)
	})
}

// history is a world with the memory that its rules need.
type history struct {
	w *world
	// stale is an earlier observation of pods, as a watch that lags shows it.
	stale map[string]facts.Pod
	// urgentWhenAsked are the pods that were asked because they could not wait.
	urgentWhenAsked map[string]bool
	names           int
	requests        int
	// jumped: the clock jumped over an end; until the next rest nothing is said about expiry.
	jumped bool
}

func newHistory(t *rapid.T) *history {
	h := &history{urgentWhenAsked: map[string]bool{}}
	replicas, poolers := rapid.IntRange(1, 4).Draw(t, "instances"), rapid.IntRange(0, 3).Draw(t, "poolers")
	if rapid.Bool().Draw(t, "from the beginning") {
		h.w = birth(replicas, poolers)
	} else {
		h.w = settledWorld()
	}
	h.remember()
	return h
}

// remember takes what a lagging watch will show.
func (h *history) remember() {
	h.stale = map[string]facts.Pod{}
	for _, p := range h.w.observe().Parties {
		for _, pod := range p.Pods {
			h.stale[pod.Name] = pod
		}
	}
}

func (h *history) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":                  h.rules,
		"round":             func(t *rapid.T) { h.round(t, all) },
		"crash in a plan":   func(t *rapid.T) { h.round(t, rapid.IntRange(0, 3).Draw(t, "steps")); h.forgetProofs() },
		"round, staleness":  h.staleRound,
		"the watch catches": func(*rapid.T) { h.remember() },
		"rest":              func(t *rapid.T) { h.rest(t) },
		"live":              h.live,
		"operator away":     h.away,
		"clock jumps":       h.jump,
		"agents":            func(*rapid.T) { h.w.agents() },
		"trouble":           h.trouble,
		"all healthy":       func(*rapid.T) { h.w.heal(); h.jumped = true }, // what a sick agent let expire is replaced by the next rest
		"damage":            h.damage,
		"damage to trust":   h.damageTrust,
		"authority deleted": func(t *rapid.T) { h.deleteAuthority(t) },
		"wish":              h.wish,
		"windows":           h.windows,
		"member":            h.membership,
	}
}

// round observes freshly and executes the first steps of the plan.
func (h *history) round(t *rapid.T, steps int) plan.Plan {
	planned, err := Next(h.w.policy, h.w.observe())
	if err != nil {
		t.Fatalf("deciding: %v", err)
	}
	h.justified(t, planned)
	h.sensible(t, planned)
	h.noteUrgency(planned)
	if err := h.w.run(planned, steps); err != nil {
		t.Fatal(err)
	}
	return planned
}

// staleRound decides from pods as they were earlier; authorities and Secrets
// are read live. What Check refuses on fresh facts is dropped with the rest of
// the plan, as the operator does.
func (h *history) staleRound(t *rapid.T) {
	o := h.w.observe()
	for i := range o.Parties {
		for j, pod := range o.Parties[i].Pods {
			if old, remembered := h.stale[pod.Name]; remembered {
				o.Parties[i].Pods[j] = old
			}
		}
	}
	planned, err := Next(h.w.policy, o)
	if err != nil {
		t.Fatalf("deciding: %v", err)
	}
	h.justified(t, planned)
	h.noteUrgency(planned)
	err = h.w.run(planned, all)
	if !refusedInTime(err) {
		t.Fatalf("a stale read did harm: %v", err)
	}
}

// refusedInTime reports whether every error of a round is the refusal of a pod's activation that fresh facts no longer justify:
// a pod that seemed urgent is not, or an earlier one is not settled.
func refusedInTime(err error) bool {
	joined, several := err.(interface{ Unwrap() []error })
	if err == nil || !several {
		return err == nil
	}
	for _, one := range joined.Unwrap() {
		var v *invariant.Violation
		if !errors.As(one, &v) || v.Invariant != "UnknownIsNo" && v.Invariant != "TrustBeforeUse" {
			return false
		}
	}
	return true
}

func (h *history) noteUrgency(planned plan.Plan) {
	for _, s := range planned.Steps() {
		if isA[plan.Activate](s) {
			_, c := h.w.pod(podOf(s))
			h.urgentWhenAsked[podOf(s)] = h.urgent(c)
		}
	}
}

// urgent is what docs/rotation.md calls so: less than half of the window is left.
func (h *history) urgent(c *container) bool {
	return c.started && !h.w.now.Before(firstEnd(&c.active).Add(-clientWindow/2))
}

func (h *history) forgetProofs() {
	for _, m := range h.w.members {
		for _, c := range m.pods {
			c.proofs = nil
		}
	}
}

func (h *history) rest(t *rapid.T) plan.Plan {
	h.w.forgetFailures()
	for range h.w.roundsToRest() {
		if planned := h.round(t, all); planned.Empty() {
			h.jumped = false
			return planned
		}
	}
	t.Fatalf("no rest after %d rounds:\n%s", h.w.roundsToRest(), strings.Join(h.w.log[max(0, len(h.w.log)-20):], "\n"))
	return plan.Plan{}
}

// live lets days pass with the operator at work. Agents that fail may let their leaf expire, healthy ones may not.
func (h *history) live(t *rapid.T) {
	until := h.w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "days")) * day)
	for {
		planned := h.rest(t)
		if !h.w.now.Before(until) {
			return
		}
		wake := until
		if !planned.Wake.IsZero() && planned.Wake.Before(until) {
			wake = planned.Wake
		}
		for h.w.now.Before(wake) {
			h.w.now = h.w.now.Add(min(time.Hour, wake.Sub(h.w.now)))
			h.w.agents()
		}
	}
}

func (h *history) away(t *rapid.T) {
	for range rapid.IntRange(1, 15*24).Draw(t, "hours") {
		h.w.now = h.w.now.Add(time.Hour)
		h.w.agents()
	}
	h.jumped = true
}

func (h *history) jump(t *rapid.T) {
	h.w.now = h.w.now.Add(time.Duration(rapid.IntRange(-48, 30*24).Draw(t, "hours")) * time.Hour)
	h.jumped = true
}

// someParty draws a member.
func (h *history) someParty(t *rapid.T) *member {
	return h.w.members[rapid.IntRange(0, len(h.w.members)-1).Draw(t, "party")]
}

func (h *history) somePod(t *rapid.T) *container {
	var pods []*container
	for _, m := range h.w.members {
		pods = append(pods, m.pods...)
	}
	if len(pods) == 0 {
		t.Skip("no pod")
	}
	return pods[rapid.IntRange(0, len(pods)-1).Draw(t, "pod")]
}

func (h *history) trouble(t *rapid.T) {
	c := h.somePod(t)
	switch rapid.SampledFrom([]string{"unreachable", "refuses", "slow", "deaf", "restarts"}).Draw(t, "trouble") {
	case "unreachable":
		c.unreachable = true
	case "refuses":
		c.refuses = true
	case "slow":
		c.slow = true
	case "deaf":
		c.deaf = c.started // a process that starts reads its files
	case "restarts":
		c.restart()
	}
}

func (h *history) damage(t *rapid.T) {
	m := h.someParty(t)
	domain := rapid.SampledFrom(m.wants).Draw(t, "leaf").Domain
	damages := map[string]fact{
		"gone": secretGone(m.name), "blank": blanked(m.name), "altered": altered(m.name),
		"foreign": foreignSecret(m.name), "unreadable": unreadableSecret(m.name),
		"bundle gone": bundleGone(m.name, domain), "bundle replaced": bundleReplaced(m.name, domain, "stranger"),
	}
	if m.secret.State == facts.Present && m.leaf(domain) != nil {
		damages["garbled"], damages["key swapped"] = garbled(m.name, domain), keySwapped(m.name, domain)
		damages["stranger's leaf"], damages["leaf cut out"] = leafOfStranger(m.name, domain), withoutLeaf(m.name, domain)
	}
	damages[rapid.SampledFrom(sortedKeys(damages)).Draw(t, "damage")](h.w)
}

func (h *history) damageTrust(t *rapid.T) {
	h.w.trust = facts.Trust{State: rapid.SampledFrom([]facts.MaterialState{facts.Missing, facts.Foreign, facts.Unknown, facts.Present}).Draw(t, "state"), Anchors: []string{"stranger"}}
}

func (h *history) deleteAuthority(t *rapid.T) {
	domain := rapid.SampledFrom(facts.Domains()).Draw(t, "domain")
	if h.w.authorities[domain] != nil {
		deletions[rapid.IntRange(0, len(deletions)-1).Draw(t, "which")](domain)(h.w)
	}
}

var deletions = []func(facts.Domain) fact{deleteAuthority, deleteOriginal, deleteCopy}

func (h *history) wish(t *rapid.T) {
	m := h.someParty(t)
	want := &m.wants[rapid.IntRange(0, len(m.wants)-1).Draw(t, "leaf")]
	h.names++
	switch rapid.SampledFrom([]string{"name", "fewer names", "address", "algorithm", "request", "request of before"}).Draw(t, "wish") {
	case "name":
		want.DNSNames = append(slices.Clone(want.DNSNames), fmt.Sprintf("name-%d", h.names))
		slices.Sort(want.DNSNames)
	case "fewer names":
		want.DNSNames = nil
	case "address":
		want.IPs = []string{fmt.Sprintf("192.0.2.%d", h.names%250)}
	case "algorithm":
		want.Algorithm = rapid.SampledFrom(pki.Algorithms()).Draw(t, "algorithm")
	case "request":
		h.requests++
		h.w.policy.RenewRequest = fmt.Sprintf("request %d", h.requests)
	case "request of before":
		h.w.policy.RenewRequest = ""
	}
}

func (h *history) membership(t *rapid.T) {
	var instances []string
	for _, m := range h.w.members {
		if m.kind == party.Instance {
			instances = append(instances, m.name)
		}
	}
	some := rapid.SampledFrom(instances).Draw(t, "instance")
	switch rapid.SampledFrom([]string{"joins", "leaves", "failover", "no primary"}).Draw(t, "change") {
	case "joins":
		free := rapid.IntRange(0, 6).Draw(t, "index")
		if h.w.member(fmt.Sprintf("db-%d", free)) == nil {
			h.w.join(free)
		}
	case "leaves":
		if len(instances) > 1 {
			h.w.leave(some)
		}
	case "failover":
		h.w.failover(some)
	case "no primary":
		h.w.failover("")
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// --- the rules --------------------------------------------------------------

// rules are looked at after every action.
func (h *history) rules(t *rapid.T) {
	h.oneInDoubt(t)
	h.noPodServesExpired(t)
	h.onlySoundIsActive(t)
	h.authorityIsStored(t)
}

// oneInDoubt: never are two pods asked for something that they were not seen to serve, unless one could not wait.
func (h *history) oneInDoubt(t *rapid.T) {
	var doubts []string
	for _, m := range h.w.members {
		for _, c := range m.pods {
			if c.started && m.secret.State == facts.Present && c.asked == m.secret.Revision && !seenServing(m, c) && !h.urgentWhenAsked[c.name] && !h.onceSeen(m, c) {
				doubts = append(doubts, c.name)
			}
		}
	}
	if len(doubts) > 1 {
		t.Fatalf("in doubt at once: %v\n%s", doubts, strings.Join(h.w.log[max(0, len(h.w.log)-20):], "\n"))
	}
}

// seenServing: the truth about a pod is what was published, and so is what the operator saw.
func seenServing(m *member, c *container) bool {
	l := m.leaf(facts.Server)
	if c.unreachable || l == nil || c.active.Revision != m.secret.Revision || len(c.proofs) == 0 {
		return false
	}
	return !slices.ContainsFunc(c.proofs, func(p facts.Proof) bool {
		return p.Revision != m.secret.Revision || p.Fingerprint != l.Fingerprint
	})
}

// onceSeen: its agent did it and its process serves it; only the operator forgot, or lost sight of it.
func (h *history) onceSeen(m *member, c *container) bool {
	l := m.leaf(facts.Server)
	return l != nil && c.active.Revision == m.secret.Revision && c.served == l.Fingerprint
}

// noPodServesExpired: a healthy pod of a party that is ours has a valid leaf whenever the operator has converged.
func (h *history) noPodServesExpired(t *rapid.T) {
	for _, m := range h.w.members {
		for _, c := range m.pods {
			healthy := c.started && !c.unreachable && !c.refuses && !c.slow && !c.deaf
			ours := m.secret.State == facts.Present
			if healthy && ours && !h.jumped && h.signing() && !h.w.now.Before(firstEnd(&c.active)) {
				t.Fatalf("%s serves what expired on %s; it is %s", c.name, firstEnd(&c.active), h.w.now)
			}
		}
	}
}

// signing: both authorities exist, are valid, and do not end soon.
func (h *history) signing() bool {
	for _, domain := range facts.Domains() {
		a := h.w.authorities[domain]
		if a == nil || h.w.now.Before(a.certificate.NotBefore) || h.w.now.Add(serverLife).After(a.certificate.NotAfter) {
			return false
		}
	}
	for _, m := range h.w.members {
		// Behind a Secret that cannot be read due leaves wait until they are urgent; the pod's own is known only from its report.
		if m.secret.State == facts.Unknown {
			return false
		}
	}
	return true
}

// onlySoundIsActive: what a pod uses was signed by the authorities and whole.
func (h *history) onlySoundIsActive(t *rapid.T) {
	for _, m := range h.w.members {
		for _, c := range m.pods {
			if !c.started {
				continue
			}
			for _, l := range c.active.Leaves {
				if l.Problem != "" {
					t.Fatalf("%s uses a %s leaf with the problem %s", c.name, l.Domain, l.Problem)
				}
				if c.asked == c.active.Revision && l.IssuerKeyID != string(l.Domain)+"-g1-key" {
					t.Fatalf("%s was asked to use a leaf of %s", c.name, l.IssuerKeyID)
				}
			}
		}
	}
}

func (h *history) authorityIsStored(t *rapid.T) {
	for domain, a := range h.w.authorities {
		if !a.stored() && !a.remembered {
			t.Fatalf("the %s authority is lost", domain)
		}
	}
}

// justified: every leaf that is issued has a reason that can be observed.
func (h *history) justified(t *rapid.T, planned plan.Plan) {
	for _, s := range planned.Steps() {
		s, publishes := s.(plan.Publish)
		if !publishes {
			continue
		}
		m := h.w.member(s.Party)
		if m.secret.State == facts.Foreign || m.secret.State == facts.Unknown {
			t.Fatalf("%s would write what is not ours or unknown", s)
		}
		for _, domain := range s.Reissue {
			if reasons := h.reasons(m, domain); !slices.Contains(reasons, s.Reason) && len(reasons) == 0 {
				t.Fatalf("%s has no reason to issue a %s leaf", s, domain)
			}
			if h.mustWait(m, domain) {
				t.Fatalf("%s begins what is planned although no window is open or it is paused: the %s leaf is %v", s, domain, h.reasons(m, domain))
			}
		}
		if len(s.Reissue) == 0 && !m.secret.Altered && !h.bundlesDiffer(m) {
			t.Fatalf("%s changes nothing", s)
		}
	}
}

// reasons are all the reasons for a leaf that there are, one after the other.
func (h *history) reasons(m *member, domain facts.Domain) (all []reason.Code) {
	l := m.leaf(domain)
	if m.secret.State == facts.Missing {
		return []reason.Code{reason.Missing}
	}
	if l == nil || l.Problem != "" {
		return []reason.Code{reason.Damaged}
	}
	var want facts.LeafWant
	for _, w := range m.wants {
		if w.Domain == domain {
			want = w
		}
	}
	for _, name := range want.DNSNames {
		if !slices.Contains(l.DNSNames, name) {
			all = append(all, reason.NamesChanged)
		}
	}
	for _, ip := range want.IPs {
		if !slices.Contains(l.IPs, ip) {
			all = append(all, reason.NamesChanged)
		}
	}
	if l.IssuerKeyID != h.w.authorities[domain].certificate.KeyID {
		all = append(all, reason.IssuerNotActive)
	}
	if l.Algorithm != want.Algorithm {
		all = append(all, reason.KeyAlgorithmChanged)
	}
	if h.w.now.Before(l.NotBefore) {
		all = append(all, reason.NotYetValid)
	}
	if !h.w.now.Before(h.w.renewalOf(m.name, domain)) {
		all = append(all, reason.Due)
	}
	if r := h.w.policy.RenewRequest; r != "" && r != m.secret.Answered {
		all = append(all, reason.Requested)
	}
	return all
}

func (h *history) bundlesDiffer(m *member) bool {
	for _, domain := range facts.Domains() {
		if !slices.Equal(m.secret.Anchors.Of(domain), []string{string(domain) + "-g1"}) {
			return true
		}
	}
	return false
}

// sensible: a plan's state says what is in it, and nothing unsettled goes unsaid.
func (h *history) sensible(t *rapid.T, planned plan.Plan) {
	if planned.Empty() == (planned.State == plan.Renewing) {
		t.Fatalf("%s with %d steps", planned.State, len(planned.Steps()))
	}
	if planned.State == plan.Steady {
		if slices.ContainsFunc(planned.Blockers, func(b plan.Blocker) bool { return !b.Reason.Expected() }) {
			t.Fatalf("steady with blockers: %v", planned.Blockers)
		}
		h.steadyMeansSettled(t)
	}
	if !planned.Wake.IsZero() && !planned.Wake.After(h.w.now) {
		t.Fatalf("the wake %s is not after %s", planned.Wake, h.w.now)
	}
	if planned.Empty() {
		changesExactlyAtWake(t, h.w.policy, h.w.observe())
	}
}

func (h *history) steadyMeansSettled(t *rapid.T) {
	for _, m := range h.w.members {
		for _, want := range m.wants {
			if reasons := h.reasons(m, want.Domain); len(reasons) > 0 && !h.mustWait(m, want.Domain) {
				t.Fatalf("steady, and the %s leaf of %s is %v", want.Domain, m.name, reasons)
			}
		}
		for _, c := range m.pods {
			if c.started && !seenServing(m, c) {
				t.Fatalf("steady, and %s was not seen to serve what is published", c.name)
			}
		}
	}
}

// boundedProgress: from here, with everybody healthy, a bounded number of rounds
// leads to rest, and then there is nothing to do until the wake.
func (h *history) boundedProgress(t *rapid.T) {
	h.w.heal()
	if !h.signingAtAll() {
		return
	}
	h.w.agents()
	h.rest(t)
	if planned := h.round(t, all); planned.State != plan.Steady {
		t.Fatalf("at rest, healthy, and %s:\n%s", planned.State, strings.Join(words(planned), "\n"))
	}
	issued := h.w.serial
	h.w.agents()
	if planned := h.round(t, all); len(planned.Steps()) > 0 || h.w.serial != issued {
		t.Fatalf("not idle at rest: %v", words(planned))
	}
	h.rules(t)
}

func (h *history) signingAtAll() bool {
	for _, domain := range facts.Domains() {
		a := h.w.authorities[domain]
		if a != nil && (h.w.now.Before(a.certificate.NotBefore) || h.w.now.Add(serverLife).After(a.certificate.NotAfter)) {
			return false
		}
	}
	return true
}
