package agent

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Builders of facts: sentences in the tests below.

func revision(name string) *Candidate {
	return &Candidate{Revision: name, Server: Life{noon.Add(-day), noon.Add(89 * day)}, Client: Life{noon.Add(-day), noon.Add(29 * day)}}
}

func (c *Candidate) endingServer() *Candidate {
	c.Server = Life{noon.Add(-85 * day), noon.Add(5 * day)}
	return c
}

func (c *Candidate) endingClient() *Candidate {
	c.Client = Life{noon.Add(-28 * day), noon.Add(2 * day)}
	return c
}

func (c *Candidate) expiredServer() *Candidate {
	c.Server = Life{noon.Add(-91 * day), noon.Add(-day)}
	c.Refusal = &pki.Error{Reason: pki.Expired, Fact: "expired", Remedy: "renew"}
	return c
}

func (c *Candidate) refused() *Candidate {
	c.Refusal = &pki.Error{Reason: pki.KeyMismatch, Fact: "the key is another's", Remedy: "give the right one"}
	return c
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name    string
		facts   Facts
		act     Act
		what    string
		unasked bool
		problem agentapi.Reason
	}{
		{name: "nothing is there", facts: Facts{}, act: Rest, problem: agentapi.AwaitingDelivery},
		{name: "first material, nothing asked", facts: Facts{Mounted: revision("a")}, act: ActivateMounted, what: "a", unasked: true},
		{name: "first material, asked", facts: Facts{Mounted: revision("a"), Asked: "a"}, act: ActivateMounted, what: "a"},
		{name: "first material, another is asked", facts: Facts{Mounted: revision("a"), Asked: "b"}, act: ActivateMounted, what: "a", unasked: true},
		{name: "first material is bad", facts: Facts{Mounted: revision("a").refused()}, act: Rest, problem: agentapi.MaterialInvalid},
		{name: "first material is bad but an older is held", facts: Facts{Mounted: revision("b").refused(), Held: []Candidate{*revision("x").refused(), *revision("a")}}, act: ActivateHeld, what: "a", unasked: true},

		{name: "at rest", facts: Facts{Active: revision("a"), Mounted: revision("a"), Asked: "a", Confirmed: true}, act: Rest},
		{name: "not seen to be served yet", facts: Facts{Active: revision("a"), Mounted: revision("a"), Asked: "a"}, act: Confirm},
		{name: "delivered but not asked", facts: Facts{Active: revision("a"), Mounted: revision("b"), Asked: "a", Confirmed: true}, act: Rest},
		{name: "delivered, nothing asked at all", facts: Facts{Active: revision("a"), Mounted: revision("b"), Confirmed: true}, act: Rest},
		{name: "asked and delivered", facts: Facts{Active: revision("a"), Mounted: revision("b"), Asked: "b", Confirmed: true}, act: ActivateMounted, what: "b"},
		{name: "asked and delivered while the last is not confirmed", facts: Facts{Active: revision("a"), Mounted: revision("b"), Asked: "b"}, act: ActivateMounted, what: "b"},
		{name: "asked and not delivered", facts: Facts{Active: revision("a"), Mounted: revision("a"), Asked: "b", Confirmed: true}, act: Rest, problem: agentapi.AwaitingDelivery},
		{name: "asked for what is bad", facts: Facts{Active: revision("a"), Mounted: revision("b").refused(), Asked: "b", Confirmed: true}, act: Rest, problem: agentapi.MaterialInvalid},
		{name: "delivered bad, not asked", facts: Facts{Active: revision("a"), Mounted: revision("b").refused(), Asked: "a", Confirmed: true}, act: Rest, problem: agentapi.MaterialInvalid},
		{name: "the files are gone", facts: Facts{Active: revision("a"), Asked: "a", Confirmed: true}, act: Rest, problem: agentapi.MaterialInvalid},
		{name: "the files are gone, not confirmed", facts: Facts{Active: revision("a"), Asked: "a"}, act: Confirm, problem: agentapi.MaterialInvalid},

		{name: "undo", facts: Facts{Active: revision("b"), Mounted: revision("b"), Held: []Candidate{*revision("a")}, Asked: "a", Confirmed: true}, act: ActivateHeld, what: "a"},
		{name: "undo of what is not confirmed", facts: Facts{Active: revision("b"), Mounted: revision("b"), Held: []Candidate{*revision("a")}, Asked: "a"}, act: ActivateHeld, what: "a"},
		{name: "undo to what has expired", facts: Facts{Active: revision("b"), Mounted: revision("b"), Held: []Candidate{*revision("a").expiredServer()}, Asked: "a", Confirmed: true}, act: Rest},

		{name: "server leaf ending, newer delivered", facts: Facts{Active: revision("a").endingServer(), Mounted: revision("b"), Asked: "a", Confirmed: true}, act: ActivateMounted, what: "b", unasked: true},
		{name: "client leaf ending, newer delivered", facts: Facts{Active: revision("a").endingClient(), Mounted: revision("b"), Asked: "a", Confirmed: true}, act: ActivateMounted, what: "b", unasked: true},
		{name: "expired, newer delivered", facts: Facts{Active: revision("a").expiredServer(), Mounted: revision("b"), Asked: "a", Confirmed: true}, act: ActivateMounted, what: "b", unasked: true},
		{name: "ending, newer is bad", facts: Facts{Active: revision("a").endingServer(), Mounted: revision("b").refused(), Asked: "a", Confirmed: true}, act: Rest, problem: agentapi.MaterialInvalid},
		{name: "ending, the same delivered", facts: Facts{Active: revision("a").endingServer(), Mounted: revision("a").endingServer(), Asked: "a", Confirmed: true}, act: Rest},
		{name: "ending, delivered is no newer", facts: Facts{Active: revision("a").endingServer(), Mounted: revision("b").endingServer(), Asked: "a", Confirmed: true}, act: Rest},
		{name: "server leaf ending, newer one with the client leaf as it was", facts: Facts{Active: revision("a").endingServer().endingClient(), Mounted: revision("b").endingClient(), Asked: "a", Confirmed: true}, act: ActivateMounted, what: "b", unasked: true},
		{name: "server leaf ending, newer one with an ending client leaf", facts: Facts{Active: revision("a").endingServer(), Mounted: revision("b").endingClient(), Asked: "a", Confirmed: true}, act: Rest},
		{name: "gone ahead unasked: the old annotation is no undo", facts: Facts{Active: revision("b"), Mounted: revision("b"), Held: []Candidate{*revision("a").endingServer()}, Asked: "a", Confirmed: true}, act: Rest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.facts.Now = noon
			got := Decide(test.facts)
			if got.Act != test.act || got.Revision != test.what || got.Unasked != test.unasked {
				t.Errorf("got %s %q unasked=%v, want %s %q unasked=%v", got.Act, got.Revision, got.Unasked, test.act, test.what, test.unasked)
			}
			if reason := reasonOf(got.Problem); reason != test.problem {
				t.Errorf("problem %q, want %q", reason, test.problem)
			}
		})
	}
}

func reasonOf(p *agentapi.Problem) agentapi.Reason {
	if p == nil {
		return ""
	}
	return p.Reason
}

func TestWakesWhenALeafReachesItsLastSixth(t *testing.T) {
	active := revision("a")
	facts := Facts{Now: noon, Active: active, Mounted: revision("a"), Asked: "a", Confirmed: true}
	got := Decide(facts).WakeAt
	if want := noon.Add(24 * day); !got.Equal(want) { // 29 days are left of 30; 5 are a sixth
		t.Errorf("wakes at %v, want %v", got, want)
	}
	facts.Now = got
	if got := Decide(facts).WakeAt; !got.Equal(noon.Add(74 * day)) {
		t.Errorf("then wakes at %v", got)
	}
	facts.Now = noon.Add(80 * day)
	if got := Decide(facts).WakeAt; !got.IsZero() {
		t.Errorf("wakes at %v although nothing can change by itself", got)
	}
}

func TestWakesWhenMountedMaterialBecomesValid(t *testing.T) {
	early := revision("b").refused()
	early.Server.From = noon.Add(time.Hour)
	if got := Decide(Facts{Now: noon, Active: revision("a"), Mounted: early, Asked: "b"}).WakeAt; !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("wakes at %v", got)
	}
}

// Properties over all facts that can be drawn.

func drawLife(t *rapid.T, name string) Life {
	from := rapid.IntRange(-100, 5).Draw(t, name+" from")
	length := rapid.SampledFrom([]int{6, 30, 90}).Draw(t, name+" length")
	return Life{noon.Add(time.Duration(from) * day), noon.Add(time.Duration(from+length) * day)}
}

func drawCandidate(t *rapid.T, name string) *Candidate {
	c := &Candidate{Revision: name, Server: drawLife(t, name+" server"), Client: drawLife(t, name+" client")}
	valid := func(l Life) bool { return !noon.Before(l.From) && noon.Before(l.Until) }
	if !valid(c.Server) || !valid(c.Client) || rapid.IntRange(0, 4).Draw(t, name+" bad") == 0 {
		c.Refusal = &pki.Error{Reason: pki.Expired, Fact: "f", Remedy: "r"}
	}
	return c
}

func drawFacts(t *rapid.T) Facts {
	names := []string{"a", "b", "c", "d"}
	all := map[string]*Candidate{}
	for _, name := range names {
		all[name] = drawCandidate(t, name)
	}
	pick := func(label string) *Candidate {
		return all[rapid.SampledFrom([]string{"a", "b", "c", "d", ""}).Draw(t, label)]
	}
	f := Facts{Now: noon, Mounted: pick("mounted"), Active: pick("active"), Asked: rapid.SampledFrom([]string{"a", "b", "c", "d", "e", ""}).Draw(t, "asked")}
	f.Confirmed = f.Active != nil && rapid.Bool().Draw(t, "confirmed")
	for _, name := range names {
		if (f.Active == nil || name != f.Active.Revision) && rapid.Bool().Draw(t, name+" held") {
			f.Held = append(f.Held, *all[name])
		}
	}
	return f
}

// chosen is the candidate that a decision activates.
func chosen(f Facts, d Decision) *Candidate {
	switch d.Act {
	case ActivateMounted:
		return f.Mounted
	case ActivateHeld:
		for _, held := range f.Held {
			if held.Revision == d.Revision {
				return &held
			}
		}
	}
	return nil
}

// apply is what the world looks like after the act has succeeded.
func apply(f Facts, d Decision) Facts {
	next := f
	if c := chosen(f, d); c != nil {
		next.Held = slices.DeleteFunc(slices.Clone(f.Held), func(h Candidate) bool { return h.Revision == c.Revision })
		if f.Active != nil {
			next.Held = append([]Candidate{*f.Active}, next.Held...)
		}
		next.Active = c
	}
	next.Confirmed = next.Active != nil
	return next
}

func TestNeverActivatesWhatDoesNotVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		d := Decide(f)
		c := chosen(f, d)
		if (d.Act == ActivateMounted || d.Act == ActivateHeld) && (c == nil || c.Refusal != nil || c.Revision != d.Revision) {
			t.Fatalf("%s %q activates %+v", d.Act, d.Revision, c)
		}
	})
}

// An expired leaf never stays when a valid material with a later leaf is mounted, with any request of the operator or none.
func TestNeverLetsAnExpiredLeafStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		f.Active, f.Mounted = drawCandidate(t, "active one"), revision("good") // which is ending nowhere
		since := time.Duration(rapid.IntRange(0, 50).Draw(t, "expired since")) * day
		for _, leaf := range rapid.SampledFrom([][]*Life{{&f.Active.Server}, {&f.Active.Client}, {&f.Active.Server, &f.Active.Client}}).Draw(t, "expired leaves") {
			*leaf = Life{noon.Add(-since - 60*day), noon.Add(-since)}
		}
		d := Decide(f)
		if c := chosen(f, d); c == nil || c.Refusal != nil {
			t.Fatalf("%s keeps the expired %+v while %+v is mounted", d.Act, f.Active, f.Mounted)
		}
	})
}

func TestWhatIsAskedAndGoodIsDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		f.Mounted = drawCandidate(t, "mounted one")
		f.Mounted.Refusal, f.Asked = nil, f.Mounted.Revision
		d := Decide(f)
		if d.Act != ActivateMounted || d.Unasked || d.Problem != nil {
			t.Fatalf("%+v instead of activating what is asked", d)
		}
	})
}

// However it begins, it comes to rest and stays there: the rules never undo each other.
func TestComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		var path []string
		for range 4 {
			d := Decide(f)
			if d.Act == Rest {
				return
			}
			path = append(path, fmt.Sprintf("%s %s", d.Act, d.Revision))
			f = apply(f, d)
		}
		t.Fatalf("no rest after %q", path)
	})
}

// An undo of a good revision by the operator always works and is kept.
func TestUndoWorks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		good := revision("previous")
		f.Active = drawCandidate(t, "active one")
		f.Held, f.Asked = append(f.Held, *good), good.Revision
		d := Decide(f)
		if d.Act != ActivateHeld || d.Revision != good.Revision || d.Unasked {
			t.Fatalf("%+v instead of the undo", d)
		}
		if d = Decide(apply(f, d)); d.Act != Rest {
			t.Fatalf("%+v after the undo", d)
		}
	})
}

func TestAProblemSaysFactAndReason(t *testing.T) {
	problem := refused(fmt.Errorf("server.crt: %w", &pki.Error{Reason: pki.Expired, Fact: "the leaf has expired", Remedy: "renew it"}))
	if want := "Expired: server.crt: the leaf has expired: renew it"; problem.Message != want {
		t.Errorf("message %q, want %q", problem.Message, want)
	}
	if got := refused(errors.New("x")).Message; got != "x" {
		t.Errorf("message %q", got)
	}
}
