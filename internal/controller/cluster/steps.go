package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
)

// A step brings one kind of thing nearer to the spec. It returns what it waits for; an error is about the step as a whole, and one
// about an object is noted in the ledger.
type step struct {
	name  string
	needs []string // steps that must not have failed in this round
	run   func(context.Context, *round) ([]decide.Wait, error)
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
		{name: "report orphans", run: reportOrphans},
	}
}
