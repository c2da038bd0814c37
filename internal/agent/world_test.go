package agent

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// world is a pod over weeks: an operator that comes and goes, a kubelet that is late, hands that damage Secrets, and a
// process that does not always do as it is told. Only the decision is the real one.
type world struct {
	now       time.Time
	secret    *Candidate // what the operator has written
	mounted   *Candidate
	asked     string
	installed []*Candidate // the active one first
	confirmed bool
	obedient  bool
	made      int
	log       []string
}

func newWorld() *world { return &world{now: noon, obedient: true} }

// issue is the operator's: a fresh revision whose leaves last as asked.
func (w *world) issue(server, client time.Duration) {
	w.made++
	w.secret = &Candidate{Revision: fmt.Sprint("r", w.made), Server: Life{w.now, w.now.Add(server)}, Client: Life{w.now, w.now.Add(client)}}
	w.note("issued %s", w.secret.Revision)
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, w.now.Format("02 15:04 ")+fmt.Sprintf(format, args...))
}

// judged is a candidate as it looks now.
func (w *world) judged(c *Candidate) *Candidate {
	if c == nil {
		return nil
	}
	judged := *c
	if judged.Refusal == nil && (!w.now.Before(c.Server.Until) || !w.now.Before(c.Client.Until)) {
		judged.Refusal = &pki.Error{Reason: pki.Expired, Fact: "expired", Remedy: "renew"}
	}
	return &judged
}

func (w *world) facts() Facts {
	f := Facts{Now: w.now, Asked: w.asked, Mounted: w.judged(w.mounted), Confirmed: w.confirmed}
	for i, c := range w.installed {
		if i == 0 {
			f.Active = w.judged(c)
		} else {
			f.Held = append(f.Held, *w.judged(c))
		}
	}
	return f
}

// turn does what Decide says, as Agent.turn does, and checks every step.
func (w *world) turn(t *rapid.T) Decision {
	for range 5 {
		d := Decide(w.facts())
		if d.Act == Rest {
			return d
		}
		w.note("%s %s unasked=%v", d.Act, d.Revision, d.Unasked)
		if d.Act == Confirm {
			if w.confirmed = w.obedient; !w.confirmed {
				return d
			}
			continue
		}
		w.activate(t, d)
	}
	t.Fatalf("the agent does not come to rest:\n%s", w.history())
	return Decision{}
}

func (w *world) activate(t *rapid.T, d Decision) {
	c := chosen(w.facts(), d)
	if c == nil || c.Refusal != nil {
		t.Fatalf("activates what does not verify:\n%s", w.history())
	}
	if d.Unasked && len(w.installed) > 0 && !w.installed[0].Server.Ending(w.now) && !w.installed[0].Client.Ending(w.now) {
		t.Fatalf("goes ahead unasked although nothing is ending:\n%s", w.history())
	}
	next := []*Candidate{c}
	for _, old := range w.installed {
		if old.Revision != c.Revision && len(next) < 2 {
			next = append(next, old)
		}
	}
	w.installed, w.confirmed = next, w.obedient
}

func (w *world) history() string {
	text := ""
	for _, line := range w.log {
		text += line + "\n"
	}
	return text
}

// check holds after every turn of an obedient process.
func (w *world) check(t *rapid.T, d Decision) {
	if len(w.installed) == 0 || !w.obedient {
		return
	}
	active, mounted := w.judged(w.installed[0]), w.judged(w.mounted)
	if mounted == nil || mounted.Refusal != nil {
		return
	}
	if active.Refusal != nil && !worsensLeaf(mounted.Server, active.Server, w.now) && !worsensLeaf(mounted.Client, active.Client, w.now) {
		t.Fatalf("an expired leaf stays while %s is mounted:\n%s", mounted.Revision, w.history())
	}
	if w.asked == mounted.Revision && active.Revision != mounted.Revision {
		t.Fatalf("%s is asked, mounted and good, and %s is active:\n%s", w.asked, active.Revision, w.history())
	}
	if w.asked == active.Revision && mounted.Revision == active.Revision && (d.Problem != nil || d.Act != Rest) {
		t.Fatalf("a problem at rest: %+v\n%s", d.Problem, w.history())
	}
}

func TestWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		days := rapid.IntRange(1, 40)
		actions := map[string]func(*rapid.T){
			"issue": func(t *rapid.T) {
				w.issue(time.Duration(days.Draw(t, "server"))*day, time.Duration(days.Draw(t, "client"))*day)
			},
			"damage": func(t *rapid.T) {
				w.made++
				w.secret = (&Candidate{Revision: fmt.Sprint("bad", w.made)}).refused()
				w.note("damaged")
			},
			"deliver": func(*rapid.T) { w.mounted = w.secret },
			"vanish":  func(*rapid.T) { w.mounted = nil; w.note("files vanish") },
			"ask": func(*rapid.T) {
				if w.secret != nil {
					w.asked = w.secret.Revision
					w.note("asks for %s", w.asked)
				}
			},
			"ask for what is held": func(t *rapid.T) {
				if len(w.installed) > 1 {
					w.asked = w.installed[1].Revision
					w.note("asks for the held %s", w.asked)
				}
			},
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 24*20).Draw(t, "hours")) * time.Hour)
			},
			"sleep until it wakes": func(*rapid.T) {
				if wake := Decide(w.facts()).WakeAt; !wake.IsZero() {
					w.now = wake
				}
			},
			"obey": func(t *rapid.T) {
				w.obedient = rapid.Bool().Draw(t, "obedient")
				w.confirmed = w.confirmed && len(w.installed) > 0
			},
			"": func(t *rapid.T) { w.check(t, w.turn(t)) },
		}
		t.Repeat(actions)
	})
}

// An operator that dies right after it has written and never comes back: no leaf expires as long as a newer one is mounted.
func TestOperatorAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.issue(time.Duration(rapid.IntRange(2, 90).Draw(t, "server"))*day, time.Duration(rapid.IntRange(2, 90).Draw(t, "client"))*day)
		w.mounted, w.asked = w.secret, w.secret.Revision
		w.turn(t)
		first := w.installed[0]
		w.now = w.now.Add(day)
		w.issue(100*day, 100*day)
		w.mounted = w.secret // delivered, and the operator never asks for it
		if d := w.turn(t); d.Act != Rest && w.installed[0] != first {
			t.Fatalf("went ahead at once:\n%s", w.history())
		}
		for w.installed[0].Revision == first.Revision {
			wake := Decide(w.facts()).WakeAt
			if wake.IsZero() || !wake.Before(first.Server.Until) || !wake.Before(first.Client.Until) {
				t.Fatalf("wakes at %v, too late for %+v:\n%s", wake, first, w.history())
			}
			w.now = wake
			w.turn(t)
		}
		if d := w.turn(t); d.Act != Rest || reasonOf(d.Problem) != agentapi.Reason("") {
			t.Fatalf("afterwards %+v:\n%s", d, w.history())
		}
	})
}
