package cluster

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

// A decision is one action, and why not yet when it is to wait.
type decision struct {
	Action    Action
	Instance  string
	Candidate string // of a switchover
	Wait      Wait   // of Await
}

func await(instance string, reason Reason, format string, args ...any) decision {
	return decision{Action: Await, Instance: instance, Wait: Wait{Party: instance, Reason: reason, Message: fmt.Sprintf(format, args...), Again: soon}}
}

// nextReplacement decides which outdated pod makes way for a new one. Replicas go one by one, each only while every other
// instance is healthy; the primary goes last, after a switchover. A pod that does not serve loses nothing by going at once,
// so a spec that broke a pod can be repaired.
func nextReplacement(all []member) decision {
	outdated := filter(all, func(m member) bool { return m.Wanted && m.Exists && m.Outdated })
	if len(outdated) == 0 {
		return decision{}
	}
	if going, ok := first(all, func(m member) bool { return m.Terminating }); ok {
		return await(going.Instance, AwaitingInstance, "its pod is going")
	}
	if broken, ok := first(outdated, func(m member) bool { return !m.Ready && (!m.Primary || len(all) == 1) }); ok {
		return decision{Action: DeletePod, Instance: broken.Instance}
	}
	return replaceServing(all, outdated, DeletePod)
}

// nextRestart decides which PostgreSQL is restarted for a setting that needs it, by the same order.
func nextRestart(all []member) decision {
	pending := filter(all, func(m member) bool { return m.Wanted && m.PendingRestart })
	if len(pending) == 0 {
		return decision{}
	}
	// A replica that was restarted and still asks for it waits for the primary: a smaller max_connections has to
	// reach the primary first.
	for _, turn := range []func(member) bool{
		func(m member) bool { return !m.Primary && !m.Restarted },
		func(m member) bool { return m.Primary && !m.Restarted },
	} {
		if next, ok := first(pending, turn); ok {
			return whenOthersHealthy(all, next, Restart)
		}
	}
	rest := await(pending[0].Instance, RestartingInstance, "PostgreSQL was restarted, and Patroni has not yet said that it needs no other restart")
	rest.Wait.Again = later // it may never say so: then somebody has to look after it
	return rest
}

func replaceServing(all, outdated []member, action Action) decision {
	if replica, ok := first(outdated, func(m member) bool { return !m.Primary }); ok {
		return whenOthersHealthy(all, replica, action)
	}
	return replacePrimary(all, outdated[0], action)
}

func replacePrimary(all []member, primary member, action Action) decision {
	if len(all) == 1 {
		return decision{Action: action, Instance: primary.Instance} // nobody can take over
	}
	if wait := whenOthersHealthy(all, primary, action); wait.Action == Await {
		return wait
	}
	candidate, ok := first(all, func(m member) bool { return m.Wanted && !m.Primary && m.healthy() })
	if !ok {
		return await(primary.Instance, AwaitingInstance, "it is the primary, and no other instance can take over")
	}
	return decision{Action: Switchover, Instance: primary.Instance, Candidate: candidate.Instance}
}

func whenOthersHealthy(all []member, target member, action Action) decision {
	for _, other := range all {
		if other.Instance == target.Instance || !other.Wanted {
			continue
		}
		if !other.healthy() {
			return await(other.Instance, AwaitingInstance, "is %s; %s waits for it", ailment(other), target.Instance)
		}
	}
	if len(all) > 1 && !slices.ContainsFunc(all, func(m member) bool { return m.Primary && m.healthy() }) {
		return await(target.Instance, AwaitingPrimary, "there is no primary")
	}
	return decision{Action: action, Instance: target.Instance}
}

// nextRemoval decides which instance that the spec wants no more goes: the highest index first, never the primary (another
// takes over first), and none while there is no primary that stays.
func nextRemoval(all []member) decision {
	extra := filter(all, func(m member) bool { return !m.Wanted })
	if len(extra) == 0 {
		return decision{}
	}
	slices.SortFunc(extra, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(a.Instance, b.Instance))
	})
	if primary, ok := first(extra, func(m member) bool { return m.Primary }); ok {
		heir, ok := first(all, func(m member) bool { return m.Wanted && !m.Primary && m.healthy() })
		if !ok {
			return await(primary.Instance, AwaitingInstance, "it is the primary, and no instance that stays can take over")
		}
		return decision{Action: Switchover, Instance: primary.Instance, Candidate: heir.Instance}
	}
	if !slices.ContainsFunc(all, func(m member) bool { return m.Wanted && m.Primary && m.healthy() }) {
		return await(extra[0].Instance, AwaitingPrimary, "is to be removed, which waits for a healthy primary among those that stay")
	}
	return decision{Action: Remove, Instance: extra[0].Instance}
}

// ailment says what a member lacks.
func ailment(m member) string {
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

func filter(all []member, keep func(member) bool) []member {
	var kept []member
	for _, m := range all {
		if keep(m) {
			kept = append(kept, m)
		}
	}
	return kept
}

func first(all []member, match func(member) bool) (member, bool) {
	for _, m := range all {
		if match(m) {
			return m, true
		}
	}
	return member{}, false
}
