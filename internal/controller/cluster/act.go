package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// removeInstances takes away what the spec wants no more, one instance in a round.
func removeInstances(ctx context.Context, r *round) ([]decide.Wait, error) {
	removeVolumes(ctx, r)
	return actOn(ctx, r, decide.NextRemoval, func(m decide.Member) bool { return !m.Wanted })
}

// removeVolumes deletes the claims of instances that are neither wanted nor there, and only claims that the cluster controls: an orphan of a
// name that the spec does not want holds data, and is left alone.
func removeVolumes(ctx context.Context, r *round) {
	wanted := desired.Instances(r.seen.cluster)
	for _, volume := range r.seen.volumes {
		instance := volume.Labels[desired.InstanceLabel]
		if instance != "" && !isWanted(wanted, instance) && r.seen.statefulSets[instance] == nil {
			r.objects.remove(ctx, volume)
		}
	}
}

// replaceInstances makes way for pods that are as the spec wants them, one in a round.
func replaceInstances(ctx context.Context, r *round) ([]decide.Wait, error) {
	var waits []decide.Wait
	for name, statefulSet := range r.seen.statefulSets {
		if !decide.LookedAt(statefulSet) {
			waits = append(waits, decide.Wait{Party: name, Reason: decide.AwaitingStatefulSet, Message: "Kubernetes has not looked at its changed StatefulSet yet"})
		}
	}
	next := func(all []decide.Member) decide.Decision { return nextReplacement(r, all) }
	acted, err := actOn(ctx, r, next, func(m decide.Member) bool { return m.Outdated })
	return append(waits, acted...), err
}

// nextReplacement leaves a pod whose successor could not start.
func nextReplacement(r *round, all []decide.Member) decide.Decision {
	for i, m := range all {
		all[i].Outdated = m.Outdated && instanceNotYet(r, m.Instance) == nil
	}
	return decide.NextReplacement(all)
}

// restartInstances restarts PostgreSQL where a setting needs it, when no pod is to be replaced: a new pod has
// its settings anyway.
func restartInstances(ctx context.Context, r *round) ([]decide.Wait, error) {
	if r.instances.acted {
		return nil, nil
	}
	view := r.ha.ask(ctx)
	all := r.instances.withRestarts(r.seen.members(view.states))
	for _, m := range all {
		if m.Outdated || m.Exists && !m.Wanted {
			return nil, nil
		}
	}
	return r.instances.execute(ctx, decide.NextRestart(all), view)
}

// actOn decides with Patroni's word, which is asked for only when something is concerned.
func actOn(ctx context.Context, r *round, next func([]decide.Member) decide.Decision, concerned func(decide.Member) bool) ([]decide.Wait, error) {
	if _, any := decide.First(r.seen.members(nil), concerned); !any || r.instances.acted {
		return nil, nil
	}
	view := r.ha.ask(ctx)
	return r.instances.execute(ctx, next(r.seen.members(view.states)), view)
}
