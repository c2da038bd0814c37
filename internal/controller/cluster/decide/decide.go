package decide

import (
	"cmp"
	"fmt"
	"slices"
)

// Action is what is done to one instance.
type Action string

// The actions. There is at most one in a round.
const (
	Nothing    Action = ""
	Await      Action = "Await"      // something has to happen first
	DeletePod  Action = "DeletePod"  // its StatefulSet makes it anew
	Switchover Action = "Switchover" // Candidate becomes the primary in place of Instance
	Remove     Action = "Remove"     // the instance and its data go
	Restart    Action = "Restart"    // PostgreSQL in the pod is restarted
)

// A Decision is one action, and why not yet when it is to wait.
type Decision struct {
	Action    Action
	Instance  string
	Candidate string // of a switchover
	Wait      Wait   // of Await
}

func await(instance string, reason Reason, format string, args ...any) Decision {
	return Decision{Action: Await, Instance: instance, Wait: Wait{Party: instance, Reason: reason, Message: fmt.Sprintf(format, args...), Again: Soon}}
}

// NextReplacement decides which outdated pod makes way for a new one. Replicas go one by one, each only while every other
// instance is healthy; the primary goes last, after a switchover. A pod that does not serve loses nothing by going at once,
// so a spec that broke a pod can be repaired.
func NextReplacement(all []Member) Decision {
	outdated := Filter(all, func(m Member) bool { return m.Wanted && m.Exists && m.Outdated })
	if len(outdated) == 0 {
		return Decision{}
	}
	if going, ok := First(all, func(m Member) bool { return m.Terminating }); ok {
		return await(going.Instance, AwaitingInstance, "its pod is going")
	}
	if broken, ok := First(outdated, func(m Member) bool { return !m.Ready && (!m.Primary || len(all) == 1) }); ok {
		return Decision{Action: DeletePod, Instance: broken.Instance}
	}
	return replaceServing(all, outdated, DeletePod)
}

// NextRestart decides which PostgreSQL is restarted for a setting that needs it, by the same order.
func NextRestart(all []Member) Decision {
	pending := Filter(all, func(m Member) bool { return m.Wanted && m.PendingRestart })
	if len(pending) == 0 {
		return Decision{}
	}
	// A replica that was restarted and still asks for it waits for the primary: a smaller max_connections has to
	// reach the primary first.
	for _, turn := range []func(Member) bool{
		func(m Member) bool { return !m.Primary && !m.Restarted },
		func(m Member) bool { return m.Primary && !m.Restarted },
	} {
		if next, ok := First(pending, turn); ok {
			return whenOthersHealthy(all, next, Restart)
		}
	}
	rest := await(pending[0].Instance, RestartingInstance, "PostgreSQL was restarted, and Patroni has not yet said that it needs no other restart")
	rest.Wait.Again = Later // it may never say so: then a user has to look after it
	return rest
}

func replaceServing(all, outdated []Member, action Action) Decision {
	if replica, ok := First(outdated, func(m Member) bool { return !m.Primary }); ok {
		return whenOthersHealthy(all, replica, action)
	}
	return replacePrimary(all, outdated[0], action)
}

func replacePrimary(all []Member, primary Member, action Action) Decision {
	if len(all) == 1 {
		return Decision{Action: action, Instance: primary.Instance} // no other instance can take over
	}
	if wait := whenOthersHealthy(all, primary, action); wait.Action == Await {
		return wait
	}
	candidate, ok := First(all, func(m Member) bool { return m.Wanted && !m.Primary && m.healthy() })
	if !ok {
		return await(primary.Instance, AwaitingInstance, "it is the primary, and no other instance can take over")
	}
	return Decision{Action: Switchover, Instance: primary.Instance, Candidate: candidate.Instance}
}

func whenOthersHealthy(all []Member, target Member, action Action) Decision {
	for _, other := range all {
		if other.Instance == target.Instance || !other.Wanted {
			continue
		}
		if !other.healthy() {
			return await(other.Instance, AwaitingInstance, "is %s; %s waits for it", ailment(other), target.Instance)
		}
	}
	if len(all) > 1 && !slices.ContainsFunc(all, func(m Member) bool { return m.Primary && m.healthy() }) {
		return await(target.Instance, AwaitingPrimary, "there is no primary")
	}
	return Decision{Action: action, Instance: target.Instance}
}

// NextRemoval decides which instance that the spec wants no more goes: the highest index first, never the primary (another
// takes over first), and none while there is no primary that stays.
func NextRemoval(all []Member) Decision {
	extra := Filter(all, func(m Member) bool { return !m.Wanted })
	if len(extra) == 0 {
		return Decision{}
	}
	slices.SortFunc(extra, func(a, b Member) int {
		return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(a.Instance, b.Instance))
	})
	if primary, ok := First(extra, func(m Member) bool { return m.Primary }); ok {
		heir, ok := First(all, func(m Member) bool { return m.Wanted && !m.Primary && m.healthy() })
		if !ok {
			return await(primary.Instance, AwaitingInstance, "it is the primary, and no instance that stays can take over")
		}
		return Decision{Action: Switchover, Instance: primary.Instance, Candidate: heir.Instance}
	}
	if !slices.ContainsFunc(all, func(m Member) bool { return m.Wanted && m.Primary && m.healthy() }) {
		return await(extra[0].Instance, AwaitingPrimary, "is to be removed, which waits for a healthy primary among those that stay")
	}
	return Decision{Action: Remove, Instance: extra[0].Instance}
}

// ailment says what a member lacks.
func ailment(m Member) string {
	switch {
	case !m.Exists:
		return "not there"
	case m.Terminating:
		return "going"
	case !m.Ready:
		return "not ready"
	case !m.Streaming:
		return "not streaming"
	default:
		return "well"
	}
}

// Filter returns the members to keep.
func Filter(all []Member, keep func(Member) bool) []Member {
	var kept []Member
	for _, m := range all {
		if keep(m) {
			kept = append(kept, m)
		}
	}
	return kept
}

// First returns the first member that matches.
func First(all []Member, match func(Member) bool) (Member, bool) {
	for _, m := range all {
		if match(m) {
			return m, true
		}
	}
	return Member{}, false
}
