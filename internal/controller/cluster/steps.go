package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A step brings one kind of thing nearer to the spec. It returns what it waits for; an error is about the step as a whole, and one
// about an object is noted with attempt.
type step struct {
	name  string
	needs []string // steps that must not have failed in this round
	run   func(context.Context, *round) ([]Wait, error)
}

// Names of steps that others need.
const clearingLeftovers = "clear leftovers"

// steps in their order: what pods need comes before the pods. A step that fails stops only the steps that name it. What a single instance or
// the poolers need are objects, see instanceNeeds and poolerNeeds: a Service that cannot be made stops none of them.
func steps() []step {
	return []step{
		{name: clearingLeftovers, run: clearLeftovers},
		{name: "give permissions", run: givePermissions},
		{name: "write configuration", run: writeConfiguration},
		{name: "make services", run: makeServices},
		{name: "keep users' secrets", run: keepUserSecrets},
		{name: "make volumes", run: makeVolumes},
		// With what an earlier cluster left of Patroni, a new one would wait for the old one's leader for ever.
		{name: "make instances", needs: []string{clearingLeftovers}, run: makeInstances},
		{name: "make poolers", run: makePoolers},
		{name: "set disruption budgets", run: setDisruptionBudgets},
		{name: "set network policies", run: setNetworkPolicies},
		{name: "adopt Patroni's objects", needs: []string{clearingLeftovers}, run: adoptPatroniObjects},
		{name: "configure Patroni", run: configurePatroni},
		{name: "remove instances", run: removeInstances},
		{name: "replace instances", run: replaceInstances},
		{name: "restart instances", run: restartInstances},
		{name: "make users and databases", run: makeUsersAndDatabases},
		{name: "look for denied pods", run: lookForDeniedPods},
	}
}

// runStep runs a step unless one that it needs failed, or it failed a moment ago itself.
func (r *round) runStep(ctx context.Context, s step) []Wait {
	for _, need := range s.needs {
		if slices.Contains(r.failedSteps, need) {
			return []Wait{{Party: s.name, Reason: AwaitingStep, Message: fmt.Sprintf("the step %q has to succeed first", need)}}
		}
	}
	r.step = s.name
	before, conflict := len(r.failures), r.conflict
	r.conflict = false
	var waits []Wait
	_ = r.attempt(ctx, "step "+s.name, func() error {
		var err error
		waits, err = s.run(ctx, r)
		return err
	})
	if len(r.failures) > before || r.conflict {
		r.failedSteps = append(r.failedSteps, s.name)
	}
	r.conflict = r.conflict || conflict
	return waits
}

// A requirement is how much of an object another one needs.
type requirement int

const (
	// present: the object is there and is the cluster's, though it may not be what the spec says now.
	present requirement = iota
	// current: the object is what the spec says now. A pod must not start with the hash of a configuration that was not written.
	current
)

// needs are the objects without which another one is not made, by objectName.
type needs map[string]requirement

// lack is an object that could not be brought about in this round.
type lack struct {
	present bool
	reason  Reason
}

// missing returns what keeps an object from being made, or nil. Its reason is that of the first object by name.
func (r *round) missing(party string, needed needs) *Wait {
	var names []string
	for name, requirement := range needed {
		if lacking, ok := r.lacking[name]; ok && !(requirement == present && lacking.present) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	reason := r.lacking[names[0]].reason
	if stuck[reason] {
		reason = ForeignObject
	}
	return &Wait{Party: party, Reason: reason, Message: "it needs " + strings.Join(names, " and ") + ", see there", Again: later}
}
