package decide

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Builders of members: an instance that is wanted and well, changed by the options.

type option func(*Member)

func instance(name string, options ...option) Member {
	m := Member{Instance: name, Index: indexOf(name), Wanted: true, Exists: true, Ready: true, Streaming: true}
	for _, o := range options {
		o(&m)
	}
	return m
}

func primary(m *Member)       { m.Primary = true }
func outdated(m *Member)      { m.Outdated = true }
func notReady(m *Member)      { m.Ready = false }
func notStreaming(m *Member)  { m.Streaming = false }
func extra(m *Member)         { m.Wanted = false }
func terminating(m *Member)   { m.Terminating, m.Ready = true, false }
func absent(m *Member)        { m.Exists, m.Ready, m.Streaming = false, false, false }
func pending(m *Member)       { m.PendingRestart = true }
func restartedOnce(m *Member) { m.Restarted = true }

type story struct {
	name      string
	members   []Member
	action    Action
	instance  string
	candidate string
	reason    Reason // of Await
}

func tell(t *testing.T, decide func([]Member) Decision, stories []story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			got := decide(s.members)
			if got.Action != s.action || got.Instance != s.instance || got.Candidate != s.candidate || got.Wait.Reason != s.reason {
				t.Errorf("got %+v", got)
			}
			if got.Action == Await && (got.Wait.Message == "" || got.Wait.Again == 0) {
				t.Errorf("a wait says why and until when: %+v", got.Wait)
			}
		})
	}
}

func TestNextReplacement(t *testing.T) {
	tell(t, NextReplacement, []story{
		{name: "nothing is outdated", members: []Member{instance("a-0", primary), instance("a-1")}},
		{
			name:    "replicas go before the primary",
			members: []Member{instance("a-0", primary, outdated), instance("a-1", outdated), instance("a-2", outdated)},
			action:  DeletePod, instance: "a-1",
		},
		{
			name:    "only while the others are ready",
			members: []Member{instance("a-0", primary, outdated), instance("a-1", outdated), instance("a-2", notReady)},
			action:  Await, instance: "a-2", reason: AwaitingInstance,
		},
		{
			name:    "only while the others stream",
			members: []Member{instance("a-0", primary, outdated), instance("a-1", outdated), instance("a-2", notStreaming)},
			action:  Await, instance: "a-2", reason: AwaitingInstance,
		},
		{
			name:    "only while the others are there",
			members: []Member{instance("a-0", primary), instance("a-1", outdated), instance("a-2", absent)},
			action:  Await, instance: "a-2", reason: AwaitingInstance,
		},
		{
			name:    "only with a primary",
			members: []Member{instance("a-0"), instance("a-1", outdated)},
			action:  Await, instance: "a-1", reason: AwaitingPrimary,
		},
		{
			name:    "one pod at a time",
			members: []Member{instance("a-0", primary, outdated), instance("a-1", outdated, terminating), instance("a-2", outdated)},
			action:  Await, instance: "a-1", reason: AwaitingInstance,
		},
		{
			name:    "the primary hands over first",
			members: []Member{instance("a-0", primary, outdated), instance("a-1"), instance("a-2")},
			action:  Switchover, instance: "a-0", candidate: "a-1",
		},
		{
			name:    "the primary does not hand over to one that goes for good",
			members: []Member{instance("a-0", primary, outdated), instance("a-1", extra)},
			action:  Await, instance: "a-0", reason: AwaitingInstance,
		},
		{
			name:    "a lone instance cannot hand over",
			members: []Member{instance("a-0", primary, outdated)},
			action:  DeletePod, instance: "a-0",
		},
		{
			name:    "a lone broken instance is repaired",
			members: []Member{instance("a-0", primary, outdated, notReady)},
			action:  DeletePod, instance: "a-0",
		},
		{
			name:    "a broken replica is repaired though another is broken too",
			members: []Member{instance("a-0", primary), instance("a-1", outdated, notReady), instance("a-2", outdated, notReady)},
			action:  DeletePod, instance: "a-1",
		},
		{
			name:    "a whole broken cluster is repaired",
			members: []Member{instance("a-0", outdated, notReady), instance("a-1", outdated, notReady)},
			action:  DeletePod, instance: "a-0",
		},
		{
			name:    "a primary that does not answer is Patroni's matter",
			members: []Member{instance("a-0", primary, outdated, notReady), instance("a-1")},
			action:  Await, instance: "a-0", reason: AwaitingPrimary,
		},
		{
			name:    "what goes for good is not replaced",
			members: []Member{instance("a-0", primary), instance("a-1", extra, outdated)},
		},
	})
}

func TestNextRemoval(t *testing.T) {
	tell(t, NextRemoval, []story{
		{name: "nothing to remove", members: []Member{instance("a-0", primary), instance("a-1")}},
		{
			name:    "the highest index goes first",
			members: []Member{instance("a-0", primary), instance("a-1", extra), instance("a-10", extra), instance("a-2", extra)},
			action:  Remove, instance: "a-10",
		},
		{
			name:    "a primary hands over to one that stays",
			members: []Member{instance("a-0"), instance("a-1", extra), instance("a-2", extra, primary)},
			action:  Switchover, instance: "a-2", candidate: "a-0",
		},
		{
			name:    "a primary stays while no replica can take over",
			members: []Member{instance("a-0", notStreaming), instance("a-1", extra, primary)},
			action:  Await, instance: "a-1", reason: AwaitingInstance,
		},
		{
			name:    "nothing goes without a primary",
			members: []Member{instance("a-0"), instance("a-1", extra)},
			action:  Await, instance: "a-1", reason: AwaitingPrimary,
		},
		{
			name:    "nothing goes while the primary is ill",
			members: []Member{instance("a-0", primary, notReady), instance("a-1", extra)},
			action:  Await, instance: "a-1", reason: AwaitingPrimary,
		},
		{
			name:    "a broken instance goes too",
			members: []Member{instance("a-0", primary), instance("a-1", extra, notReady, notStreaming)},
			action:  Remove, instance: "a-1",
		},
	})
}

func TestNextRestart(t *testing.T) {
	tell(t, NextRestart, []story{
		{name: "nothing is pending", members: []Member{instance("a-0", primary), instance("a-1")}},
		{
			name:    "replicas before the primary",
			members: []Member{instance("a-0", primary, pending), instance("a-1", pending)},
			action:  Restart, instance: "a-1",
		},
		{
			name:    "the primary last",
			members: []Member{instance("a-0", primary, pending), instance("a-1")},
			action:  Restart, instance: "a-0",
		},
		{
			name:    "one at a time",
			members: []Member{instance("a-0", primary, pending), instance("a-1", notStreaming), instance("a-2", pending)},
			action:  Await, instance: "a-1", reason: AwaitingInstance,
		},
		{
			name:    "a lone instance",
			members: []Member{instance("a-0", primary, pending)},
			action:  Restart, instance: "a-0",
		},
		{
			name:    "a replica that cannot take the setting before the primary does not hold it up",
			members: []Member{instance("a-0", primary, pending), instance("a-1", pending, restartedOnce)},
			action:  Restart, instance: "a-0",
		},
		{
			name:    "no pod is restarted for ever",
			members: []Member{instance("a-0", primary), instance("a-1", pending, restartedOnce)},
			action:  Await, instance: "a-1", reason: RestartingInstance,
		},
	})
}

// A model of a cluster under Patroni and Kubernetes: it does what was decided, and heals by and by.
type model struct {
	members []Member
	smaller bool // the setting has to reach the primary first
}

func drawModel(t *rapid.T) *model {
	wanted := rapid.IntRange(1, 4).Draw(t, "wanted")
	extras := rapid.IntRange(0, 3).Draw(t, "extras")
	m := &model{smaller: rapid.Bool().Draw(t, "smaller")}
	for i := range wanted + extras {
		one := instance(fmt.Sprintf("a-%d", i))
		one.Wanted = i < wanted
		one.Outdated = rapid.Bool().Draw(t, "outdated")
		one.PendingRestart = rapid.Bool().Draw(t, "pending")
		one.Ready = rapid.Bool().Draw(t, "ready")
		one.Streaming = one.Ready && rapid.Bool().Draw(t, "streaming")
		m.members = append(m.members, one)
	}
	if leader := rapid.IntRange(-1, len(m.members)-1).Draw(t, "primary"); leader >= 0 {
		m.members[leader].Primary = true
		m.members[leader].Streaming = true
	}
	return m
}

func (m *model) find(name string) *Member {
	for i := range m.members {
		if m.members[i].Instance == name {
			return &m.members[i]
		}
	}
	return nil
}

// check is what must hold before an act, said without the rules that lead to it.
func (m *model) check(t *rapid.T, d Decision) {
	target := m.find(d.Instance)
	othersServing := 0
	for _, one := range m.members {
		if one.Ready && !one.Terminating && one.Instance != d.Instance {
			othersServing++
		}
	}
	switch d.Action {
	case DeletePod, Remove:
		if target.Primary && target.Ready && len(m.members) > 1 {
			t.Fatalf("%s takes a serving primary: %+v", d.Action, m.members)
		}
		if d.Action == DeletePod && target.Ready {
			for _, other := range m.members {
				if other.Instance != target.Instance && other.Wanted && !other.healthy() {
					t.Fatalf("%s goes while %s is ill: %+v", target.Instance, other.Instance, m.members)
				}
			}
		}
		if d.Action == Remove && othersServing == 0 {
			t.Fatalf("the last that serves is removed: %+v", m.members)
		}
	case Switchover:
		if heir := m.find(d.Candidate); !target.Primary || !heir.healthy() || !heir.Wanted || heir.Primary {
			t.Fatalf("switchover from %+v to %+v", target, heir)
		}
	case Restart:
		if !target.PendingRestart || target.Restarted {
			t.Fatalf("%s needs no restart: %+v", target.Instance, m.members)
		}
	}
}

func (m *model) do(d Decision) {
	target := m.find(d.Instance)
	switch d.Action {
	case DeletePod:
		target.Exists, target.Ready, target.Streaming, target.Outdated, target.PendingRestart = false, false, false, false, false
	case Remove:
		for i := range m.members {
			if m.members[i].Instance == d.Instance {
				m.members = append(m.members[:i:i], m.members[i+1:]...)
				break
			}
		}
	case Switchover:
		target.Primary, m.find(d.Candidate).Primary = false, true
	case Restart:
		m.restart(target)
	}
}

func (m *model) restart(target *Member) {
	primaryPends := false
	for i := range m.members {
		primaryPends = primaryPends || m.members[i].Primary && m.members[i].PendingRestart
		m.members[i].Restarted = m.members[i].Restarted && !target.Primary
	}
	target.Restarted = true
	target.PendingRestart = m.smaller && primaryPends && !target.Primary
}

// heal is what Kubernetes and Patroni do when left alone: pods come, become ready, stream; a leader is elected.
func (m *model) heal() {
	led := false
	for _, one := range m.members {
		led = led || one.Primary
	}
	for i := range m.members {
		one := &m.members[i]
		switch {
		case !one.Exists:
			one.Exists = true
			return
		case !one.Ready:
			one.Ready = true
			return
		case !led:
			one.Primary, led = true, true
		case !one.Streaming:
			one.Streaming = true
			return
		}
	}
}

func (m *model) decide() Decision {
	for _, ask := range []func([]Member) Decision{NextRemoval, NextReplacement, NextRestart} {
		if d := ask(m.members); d.Action != Nothing {
			return d
		}
	}
	return Decision{}
}

func TestEveryClusterComesToRestAndNoServingPrimaryIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		const enough = 200
		for range enough {
			d := m.decide()
			m.check(t, d)
			if d.Action == Await {
				m.heal()
				continue
			}
			if d.Action == Nothing {
				break
			}
			m.do(d)
		}
		for _, one := range m.members {
			if !one.Wanted || one.Outdated || one.Exists && one.PendingRestart {
				t.Fatalf("not at rest after %d rounds: %+v, next %+v", enough, m.members, m.decide())
			}
		}
	})
}

func TestIndexOf(t *testing.T) {
	for name, want := range map[string]int{"hippo-00-0": 0, "hippo-00-12": 12, "hippo-a1-3": 3, "hippo": -1, "": -1} {
		if got := indexOf(name); got != want {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
}
