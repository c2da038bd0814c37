package rotation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// TestStories plays testdata/*.txt. A story is a list of commands to one world:
//
//	birth replicas=2 poolers=1    a cluster that has nothing yet
//	settled                       three instances and two poolers at rest, db-0 is the primary
//	round                         observe, decide, execute, let the agents work; prints the plan
//	rest                          rounds until there is no step; prints each
//	sleep | sleep 36h             the operator sleeps until the plan's wake, or for a while, and works; prints each round
//	away 10d                      time passes without the operator
//	plan                          only decide; prints the plan, wake and next renewal
//	pods                          what every pod serves and how long
//	rekey                         rounds until there is no step; prints the turns, how many other steps there were between, and whom it waits for
//	until switchsigner            the same, until such a step was taken
//	authorities                   for each domain: phase, the active one, what is trusted, what the leaves present
//	customs                       the parties that present a certificate from elsewhere, and which of its anchors are noted
//	blockers                      what the plan says of those it waits for
//	windows every=7d from=3d for=4h  when windows are open; "windows any" and "windows never" too
//	anything else                 a fact of facts_test.go, such as: refusing db-1-0
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			for _, line := range append([]string{d.FullCmd()}, strings.Split(d.Input, "\n")...) {
				if line == "" {
					continue
				}
				if err := s.tell(strings.Fields(line)); err != nil {
					d.Fatalf(t, "%s: %v", line, err)
				}
			}
			if s.out.Len() == 0 {
				return "ok\n"
			}
			return s.out.String()
		})
	})
}

type story struct {
	w   *world
	out strings.Builder
}

func (s *story) tell(command []string) error {
	verb, args := command[0], command[1:]
	switch verb {
	case "birth":
		s.w = birth(number(args, "replicas"), number(args, "poolers"))
	case "settled":
		s.w = settledWorld()
	case "round":
		_, err := s.round()
		return err
	case "rest":
		return s.rest()
	case "sleep":
		return s.sleep(args)
	case "away":
		s.pass(s.w.now.Add(span(args[0])))
	case "plan":
		return s.planned()
	case "pods":
		s.pods()
	case "rekey":
		return s.rekey("")
	case "until":
		return s.rekey(args[0])
	case "authorities":
		return s.authorities()
	case "customs":
		s.customs()
	case "blockers":
		return s.blockers()
	default:
		return s.fact(verb, args)
	}
	return nil
}

func number(args []string, name string) (n int) {
	for _, arg := range args {
		if value, found := strings.CutPrefix(arg, name+"="); found {
			fmt.Sscan(value, &n)
		}
	}
	return n
}

// span reads a duration that may be given in days.
func span(text string) time.Duration {
	if days, found := strings.CutSuffix(text, "d"); found {
		var n int
		fmt.Sscan(days, &n)
		return time.Duration(n) * day
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

func (s *story) round() (plan.Plan, error) {
	planned, err := s.w.round(all)
	for _, line := range words(planned) {
		fmt.Fprintf(&s.out, "%s  %s\n", s.day(), line)
	}
	return planned, err
}

// day tells the time of the story: day and hour since its dawn.
func (s *story) day() string {
	since := s.w.now.Sub(dawn)
	return fmt.Sprintf("%3dd %02dh", since/day, since%day/time.Hour)
}

func (s *story) rest() error {
	s.w.forgetFailures()
	for range s.w.roundsToRest() {
		planned, err := s.round()
		if err != nil {
			return err
		}
		if len(planned.Steps()) == 0 {
			fmt.Fprintf(&s.out, "%s  %s\n", s.day(), planned.State)
			return nil
		}
	}
	return fmt.Errorf("no rest")
}

// sleep lets the operator sleep until the wake of its plan, again and again for
// as long as is said, or once.
func (s *story) sleep(args []string) error {
	until := s.w.now
	if len(args) > 0 {
		until = until.Add(span(args[0]))
	}
	for {
		planned, err := Next(s.w.policy, s.w.observe())
		if err != nil {
			return err
		}
		if len(args) > 0 && (planned.Wake.IsZero() || planned.Wake.After(until)) {
			s.pass(until)
			return s.rest()
		}
		s.pass(planned.Wake)
		if err := s.rest(); err != nil || len(args) == 0 {
			return err
		}
	}
}

func (s *story) pass(until time.Time) {
	for s.w.now.Before(until) {
		s.w.now = s.w.now.Add(min(time.Hour, until.Sub(s.w.now)))
		s.w.agents()
	}
	for _, m := range s.w.members {
		for _, c := range m.pods {
			if c.unasked {
				fmt.Fprintf(&s.out, "%s  the agent of %s went ahead by itself\n", s.day(), c.name)
				c.unasked = false
			}
		}
	}
}

func (s *story) planned() error {
	planned, err := Next(s.w.policy, s.w.observe())
	if err != nil {
		return err
	}
	for _, line := range words(planned) {
		fmt.Fprintln(&s.out, line)
	}
	fmt.Fprintf(&s.out, "%s, next renewal %s, wake %s\n", planned.State, s.in(planned.NextRenewal), s.in(planned.Wake))
	return nil
}

func (s *story) blockers() error {
	planned, err := Next(s.w.policy, s.w.observe())
	for _, b := range planned.Blockers {
		fmt.Fprintf(&s.out, "%s %s: %s\n", b.Party, b.Reason, b.Message)
	}
	return err
}

func (s *story) in(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("in %.1fd", t.Sub(s.w.now).Hours()/24)
}

func (s *story) pods() {
	for _, m := range s.w.members {
		for _, c := range m.pods {
			if !c.started {
				fmt.Fprintf(&s.out, "%s has not started\n", c.name)
				continue
			}
			which := "what is published"
			if c.served != toServe(&m.secret, true) || c.active.Revision != m.secret.Revision {
				which = "what it held before"
			}
			fmt.Fprintf(&s.out, "%s serves %s, good until %s\n", c.name, which, s.in(firstEnd(&c.active)))
		}
	}
}

// customs tells what the processes present in place of their own leaves, and which anchors are noted.
func (s *story) customs() {
	for _, m := range s.w.members {
		for _, c := range m.pods {
			for _, p := range c.customs {
				fmt.Fprintf(&s.out, "%s presents a %s certificate of %v, good until %s\n", c.name, p.Domain, p.Anchors, s.in(p.NotAfter))
			}
		}
	}
	for _, a := range s.w.record {
		unused := ""
		if !a.UnusedSince.IsZero() {
			unused = ", and nothing needs it"
		}
		fmt.Fprintf(&s.out, "%s is trusted in the %s domain%s\n", a.Fingerprint, a.Domain, unused)
	}
}

// fact applies a fact by its name in facts_test.go.
func (s *story) fact(name string, args []string) error {
	one := func(f func(string) fact) func([]string) fact {
		return func(a []string) fact { return f(a[0]) }
	}
	leaf := func(f func(string, facts.Domain) fact) func([]string) fact {
		return func(a []string) fact { return f(a[0], facts.Domain(a[1])) }
	}
	premises := map[string]func([]string) fact{
		"secretGone": one(secretGone), "blanked": one(blanked), "altered": one(altered),
		"garbled": leaf(garbled), "keySwapped": leaf(keySwapped), "bundleGone": leaf(bundleGone), "leafOfStranger": leaf(leafOfStranger),
		"foreignSecret": one(foreignSecret), "published": one(published), "urgent": one(urgent), "due": leaf(due),
		"wantsName":      func(a []string) fact { return wantsName(a[0], a[1]) },
		"wantsAlgorithm": func(a []string) fact { return wantsAlgorithm(a[0], facts.Domain(a[1]), pki.Algorithm(a[2])) },
		"renewRequested": one(renewRequested),
		"rekeyRequested": leaf(func(id string, domain facts.Domain) fact { return rekeyRequested(domain, id) }),
		"rekeyDue":       one(func(d string) fact { return beginsAt(facts.Domain(d), 0) }),
		"soak":           one(func(d string) fact { return soak(span(d)) }),
		"windows":        windowsOf,
		"windowsInvalid": func(a []string) fact { return windowsInvalid(strings.Join(a, " ")) },
		"urgentBefore":   one(func(d string) fact { return urgentBefore(span(d)) }),
		"paused":         func([]string) fact { return paused },
		"resumed":        func([]string) fact { return resumed },
		"unreachable":    one(unreachable), "refusing": one(refusing), "slow": one(slow), "deaf": one(deaf), "restarted": one(notStarted),
		"everythingDue":         func([]string) fact { return everythingDue },
		"healthy":               func([]string) fact { return func(w *world) { w.heal(); w.agents() } },
		"join":                  one(func(n string) fact { return func(w *world) { w.join(int(n[0] - '0')) } }),
		"leave":                 one(func(n string) fact { return func(w *world) { w.leave(n) } }),
		"failover":              one(func(n string) fact { return func(w *world) { w.failover(n) } }),
		"authorityDeleted":      one(func(d string) fact { return deleteAuthority(facts.Domain(d)) }),
		"originalDeleted":       one(func(d string) fact { return deleteOriginal(facts.Domain(d)) }),
		"copyDeleted":           one(func(d string) fact { return deleteCopy(facts.Domain(d)) }),
		"rollbackRequested":     leaf(func(id string, d facts.Domain) fact { return rollbackRequested(d, id) }),
		"tainted":               leaf(func(n string, d facts.Domain) fact { return tainted(d, number([]string{"n=" + n}, "n")) }),
		"approved":              leaf(func(n string, d facts.Domain) fact { return approved(d, number([]string{"n=" + n}, "n")) }),
		"wantsAuthority":        leaf(func(a string, d facts.Domain) fact { return wantsAuthority(d, pki.Algorithm(a)) }),
		"dueIn":                 leaf(func(in string, d facts.Domain) fact { return beginsAt(d, span(in)) }),
		"secretLost":            one(func(d string) fact { return secretLost(facts.Domain(d)) }),
		"expired":               one(func(d string) fact { return expired(facts.Domain(d)) }),
		"manual":                func([]string) fact { return manual },
		"brings":                func(a []string) fact { return brings(party.Named(a[0]), facts.Domain(a[1]), a[2]) },
		"takesAway":             leaf(func(k string, d facts.Domain) fact { return takesAway(party.Named(k), d) }),
		"spoils":                leaf(func(k string, d facts.Domain) fact { return spoils(party.Named(k), d) }),
		"trustPropagationDelay": one(func(d string) fact { return trustPropagationDelay(span(d)) }),
		"authorityLost":         one(func(d string) fact { return noAuthority(facts.Domain(d)) }),
	}
	make, known := premises[name]
	if !known {
		return fmt.Errorf("no such command; the facts are %v", slices.Sorted(maps.Keys(premises)))
	}
	make(args)(s.w)
	return nil
}

// deleteAuthority deletes both Secrets of an authority while the operator runs.
func deleteAuthority(domain facts.Domain) fact {
	return ofAuthority(domain, func(a *storedAuthority) { a.original, a.copy = facts.Store{}, facts.Store{} })
}

// deleteOriginal and deleteCopy delete one of them.
func deleteOriginal(domain facts.Domain) fact {
	return ofAuthority(domain, func(a *storedAuthority) { a.original = facts.Store{} })
}

func deleteCopy(domain facts.Domain) fact {
	return ofAuthority(domain, func(a *storedAuthority) { a.copy = facts.Store{} })
}
