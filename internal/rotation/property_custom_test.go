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

// TestWalkCustomHistories lets certificates from elsewhere come, be renewed, come from another issuer, be refused and go, at
// random, while everything happens that happens in TestWalkRekeyHistories, or little else. After every step and every agent's turn the world
// itself is looked at: every process that is known accepts what every pod presents. In the end everything is as wanted, the
// anchors that no certificate needs are gone, and nothing is written any more.
func TestWalkCustomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newCustomHistory(t)
		if rapid.Bool().Draw(t, "turmoil") {
			t.Repeat(h.turmoil("trouble", "session", "member"))
		} else {
			t.Repeat(h.actions())
		}
		h.comesToRest(t)
	})
}

type customHistory struct {
	rekeyHistory
	published map[string]facts.Custom    // what each member's material presents, by member and domain
	excused   map[string]map[string]bool // the processes that gave no answer when a content was presented for want of time, by content
	record    []facts.Anchor             // as it was
}

// slots are the places for custom certificates.
var slots = []slot{{party.Instance, facts.Server}, {party.Instance, facts.Client}, {party.Pooler, facts.Server}}

// issuersElsewhere make certificates.
var issuersElsewhere = []string{"acme", "bank", "corp"}

func newCustomHistory(t *rapid.T) *customHistory {
	h := &customHistory{rekeyHistory: *newRekeyHistory(t), published: map[string]facts.Custom{}, excused: map[string]map[string]bool{}}
	h.w.policy.TrustPropagationDelay = time.Duration(rapid.SampledFrom([]int{0, 2, 300}).Draw(t, "follow time")) * time.Minute
	h.w.after = h.look
	return h
}

func (h *customHistory) actions() map[string]func(*rapid.T) {
	actions := h.rekeyHistory.actions()
	actions["certificate"], actions["another certificate"] = h.certificate, h.certificate
	actions["session"] = h.session
	actions["all is well for days"] = h.live
	return actions
}

// certificate is what a user does with the source of one.
func (h *customHistory) certificate(t *rapid.T) {
	s := rapid.SampledFrom(slots).Draw(t, "slot")
	issuer := rapid.SampledFrom(issuersElsewhere).Draw(t, "issuer")
	there := h.w.sources[s]
	switch what := rapid.SampledFrom([]string{"comes", "comes", "is renewed", "is renewed", "goes", "is refused"}).Draw(t, "what"); {
	case what == "comes" || there == nil:
		brings(s.kind, s.domain, issuer)(h.w)
	case what == "is renewed":
		brings(s.kind, s.domain, there.custom.Anchors[0])(h.w)
	case what == "goes":
		takesAway(s.kind, s.domain)(h.w)
	case what == "is refused":
		spoils(s.kind, s.domain)(h.w)
	}
}

// session opens a session with a client certificate from elsewhere, or ends all sessions.
func (h *customHistory) session(t *rapid.T) {
	c := h.somePod(t)
	if rapid.Bool().Draw(t, "all go") {
		h.sessionsGo()
	} else if c.started {
		foreignSession(c.name, rapid.SampledFrom(issuersElsewhere).Draw(t, "issuer"))(h.w)
	}
}

func (h *customHistory) sessionsGo() {
	for _, m := range h.w.members {
		for _, c := range m.pods {
			c.sessions = nil
		}
	}
}

// live lets days pass in which everybody is healthy and the operator wakes when it said.
func (h *customHistory) live(t *rapid.T) {
	h.w.heal()
	h.w.agents()
	until := h.w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "days")) * day)
	for {
		h.boundedRest(t)
		planned := h.round(t, all)
		if !h.w.now.Before(until) {
			return
		}
		wake := until
		if !planned.Wake.IsZero() && planned.Wake.Before(until) {
			wake = planned.Wake
		}
		for h.w.now.Before(wake) {
			h.w.now = h.w.now.Add(min(time.Hour, wake.Sub(h.w.now)))
			h.noPodPresentsWhatHasEnded(t)
			h.w.agents()
		}
	}
}

// noPodPresentsWhatHasEnded is about the instant before the operator wakes, too.
func (h *customHistory) noPodPresentsWhatHasEnded(t *rapid.T) {
	for _, m := range h.w.members {
		for _, c := range m.pods {
			for _, p := range c.customs {
				if c.started && !h.w.now.Before(p.NotAfter) {
					t.Fatalf("%s presents %s, which ended %s; it is %s\n%s", c.name, p.Content, p.NotAfter, h.w.now, h.story())
				}
			}
		}
	}
}

func (h *customHistory) story() string {
	return strings.Join(h.w.log[max(0, len(h.w.log)-40):], "\n")
}

// look checks the world; the first broken rule is told by rules.
func (h *customHistory) look() {
	h.rekeyHistory.look()
	h.noteAdoptions()
	for _, domain := range facts.Domains() {
		for _, rule := range []func(facts.Domain) string{h.customsAreAccepted, h.sessionsKeepAnchors} {
			if text := rule(domain); text != "" && h.broken == "" {
				h.broken = text
			}
		}
	}
	if len(h.w.record) < len(h.record) {
		h.remember() // no watch lags for a soak: what was trusted before and is again would seem to be loaded
	}
	h.record = slices.Clone(h.w.record)
}

// noteAdoptions sees what is published anew, and excuses each process that gives no answer at that moment where it need not be waited for.
func (h *customHistory) noteAdoptions() {
	for _, m := range h.w.members {
		for _, domain := range facts.Domains() {
			key := m.name + " " + string(domain)
			before, was := h.published[key]
			now := customOf(m.secret.Customs, domain)
			if now == nil {
				delete(h.published, key)
				continue
			}
			if now.Content != before.Content && (h.othersPresent(m, now) || was && !h.w.now.Before(before.NotAfter.Add(-before.NotAfter.Sub(before.NotBefore)/6))) {
				h.excuseTheSilent(now.Content)
			}
			h.published[key] = *now
		}
	}
}

// othersPresent reports whether another member of a kind presented the same before.
func (h *customHistory) othersPresent(m *member, c *facts.Custom) bool {
	return slices.ContainsFunc(h.w.members, func(other *member) bool {
		return other != m && other.kind == m.kind && h.published[other.name+" "+string(c.Domain)].Content == c.Content
	})
}

func (h *customHistory) excuseTheSilent(content string) {
	for _, m := range h.w.members {
		for _, c := range m.pods {
			if c.unreachable {
				if h.excused[content] == nil {
					h.excused[content] = map[string]bool{}
				}
				h.excused[content][c.name] = true
			}
		}
	}
}

// customsAreAccepted is MutualTrust for certificates from elsewhere.
func (h *customHistory) customsAreAccepted(domain facts.Domain) string {
	holders := h.holders(domain)
	for _, m := range h.w.members {
		for _, c := range m.pods {
			p := customOf(c.customs, domain)
			if !c.started || p == nil || !h.w.now.Before(p.NotAfter) {
				continue
			}
			for _, v := range holders {
				accepted := slices.ContainsFunc(p.Anchors, func(a string) bool { return slices.Contains(v.anchors, a) })
				if !accepted && v.name != c.name && !h.excused[p.Content][v.name] {
					return fmt.Sprintf("MutualTrust: %s trusts %v and refuses %s, which shows %s of %v", v.name, v.anchors, c.name, p.Content, p.Anchors)
				}
			}
		}
	}
	return ""
}

// sessionsKeepAnchors: none is dropped while a client is connected with a certificate of it, as far as the pods can be asked.
func (h *customHistory) sessionsKeepAnchors(domain facts.Domain) string {
	for _, a := range h.record {
		stays := slices.ContainsFunc(h.w.record, func(b facts.Anchor) bool { return a.Domain == b.Domain && a.Fingerprint == b.Fingerprint })
		if stays || domain != facts.Client || a.Domain != facts.Client {
			continue
		}
		for _, m := range h.w.members {
			for _, c := range m.pods {
				if m.kind == party.Instance && slices.ContainsFunc(c.sessions, func(s facts.Session) bool { return s.Issuer == a.Subject }) {
					return fmt.Sprintf("%s was dropped while a client with a certificate of it was connected to %s", a.Fingerprint, c.name)
				}
			}
		}
	}
	return ""
}

// comesToRest: with everybody healthy, and new certificates in the sources, everything is as wanted after some soaks.
func (h *customHistory) comesToRest(t *rapid.T) {
	h.w.heal()
	h.w.agents()
	h.sessionsGo()
	for s, from := range h.w.sources {
		if !from.refused {
			brings(s.kind, s.domain, from.custom.Anchors[0])(h.w)
		} else {
			takesAway(s.kind, s.domain)(h.w)
		}
	}
	for _, domain := range facts.Domains() {
		wish(domain, func(r *facts.RekeyPolicy) { r.Rollback = "" })(h.w) // or it would be undone again
	}
	h.boundedRest(t)
	for n, planned := 0, h.round(t, all); !h.quiet(planned); n, planned = n+1, h.round(t, all) {
		if n == 40 {
			t.Fatalf("no quiet after days:\n%s\n%s", strings.Join(words(planned), "\n"), h.story())
		}
		h.w.now = h.w.now.Add(12 * time.Hour)
		h.w.agents()
		h.boundedRest(t)
	}
	h.asWanted(t)
}

// quiet: nothing is under way, and no anchor stays that no certificate needs.
func (h *customHistory) quiet(planned plan.Plan) bool {
	unwanted := slices.ContainsFunc(h.w.external(), func(a facts.Anchor) bool { return !a.Wanted })
	return len(planned.Steps()) == 0 && len(planned.Rekeys) == 0 && len(planned.Adoptions) == 0 && !unwanted
}

func (h *customHistory) asWanted(t *rapid.T) {
	planned := h.round(t, all)
	if planned.State != plan.Steady || len(planned.Steps()) > 0 {
		t.Fatalf("BoundedProgress: at rest, healthy, and %s:\n%s\n%s", planned.State, strings.Join(words(planned), "\n"), h.story())
	}
	for _, domain := range facts.Domains() {
		signer := h.w.generation(domain, planned.Active.Of(domain))
		anchors := []string{signer.certificate.Fingerprint}
		for s := range h.w.sources {
			if s.domain == domain {
				anchors = append(anchors, h.w.wanted(s).Anchors...)
			}
		}
		slices.Sort(anchors)
		derived := derive(h.w.policy, h.w.observe()).Anchors(domain)
		if anchors = slices.Compact(anchors); !slices.Equal(derived, anchors) {
			t.Fatalf("at rest, and trusted in the %s domain are %v, and not %v\n%s", domain, derived, anchors, h.story())
		}
		for _, m := range h.w.members {
			want := h.w.wanted(slot{m.kind, domain})
			for _, c := range m.pods {
				if customOf(c.customs, domain).ContentOf() != want.ContentOf() || !slices.Equal(c.loaded.Of(domain), anchors) {
					t.Fatalf("at rest, and %s presents %q in the %s domain and not %q; it trusts %v\n%s", c.name, customOf(c.customs, domain).ContentOf(), domain, want.ContentOf(), c.loaded.Of(domain), h.story())
				}
			}
		}
	}
}

// turmoil is what it takes to need every guard of customs, over and over.
func (h *customHistory) turmoil(also ...string) map[string]func(*rapid.T) {
	restart := func(t *rapid.T) { h.somePod(t).restart() }
	turmoil := map[string]func(*rapid.T){
		"restart": restart, "another restart": restart,
		"crash in a plan": func(t *rapid.T) { h.round(t, rapid.IntRange(0, 7).Draw(t, "steps")); h.forgetProofs() },
	}
	for name, action := range h.actions() {
		if slices.Contains([]string{"", "round", "rounds", "agents", "certificate", "another certificate"}, name) || slices.Contains(also, name) {
			turmoil[name] = action
		}
	}
	return turmoil
}

// guardsOfCustoms are those without which the histories come upon a process that is refused, and what has to happen besides turmoil.
// The clients' ConfigMap is written before any material, so that no process here can load what it lacks; and no history knows what
// a client makes of its time: for these there are sentences.
var guardsOfCustoms = map[string][]string{
	guardAnchorMaterial:  nil,
	guardAnchorPod:       nil,
	guardAnchorPublished: {"trouble"},
	guardAnchorSettled:   {"trouble"},
	guardAnchorSessions:  {"session"},
}

// TestWalkCustomHistoriesFindAMissingGuard takes each guard away, and Check with it, until a process is refused.
func TestWalkCustomHistoriesFindAMissingGuard(t *testing.T) {
	for g, besides := range guardsOfCustoms {
		t.Run(g, func(t *testing.T) {
			t.Parallel()
			for seed := range 3000 {
				if broken := rapid.Custom(func(t *rapid.T) string { return brokenWithout(t, g, besides) }).Example(seed); broken != "" {
					t.Logf("after %d histories:\n%s", seed+1, broken)
					return
				}
			}
			t.Error("no process is refused without this guard")
		})
	}
}

// brokenWithout plays one history of two instances without a guard and tells how the world broke, "" if it did not.
func brokenWithout(t *rapid.T, g string, also []string) (broken string) {
	h := newCustomHistory(t)
	h.w.leave("db-2")
	h.w.leave("pgbouncer")
	h.decides, h.w.unchecked = without(g), true
	defer func() {
		if stopped := recover(); stopped != nil && h.broken == "" {
			panic(stopped) // a fault of the test, or nothing more to draw
		}
		if h.broken != "" {
			broken = h.broken + "\n" + h.story()
		}
	}()
	t.Repeat(h.turmoil(also...))
	return ""
}
