package cluster

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/desired"
)

// removeInstances takes away what the spec wants no more, one instance in a round.
func removeInstances(ctx context.Context, r *round) ([]Wait, error) {
	r.removeVolumes(ctx)
	return r.actOn(ctx, nextRemoval, func(m member) bool { return !m.Wanted })
}

// replaceInstances makes way for pods that are as the spec wants them, one in a round.
func replaceInstances(ctx context.Context, r *round) ([]Wait, error) {
	var waits []Wait
	for name, statefulSet := range r.facts.statefulSets {
		if !lookedAt(statefulSet) {
			waits = append(waits, Wait{Party: name, Reason: AwaitingStatefulSet, Message: "Kubernetes has not looked at its changed StatefulSet yet"})
		}
	}
	acted, err := r.actOn(ctx, r.nextReplacement, func(m member) bool { return m.Outdated })
	return append(waits, acted...), err
}

// nextReplacement leaves a pod whose successor could not start.
func (r *round) nextReplacement(all []member) decision {
	for i, m := range all {
		all[i].Outdated = m.Outdated && r.notYet(m.Instance) == nil
	}
	return nextReplacement(all)
}

// restartInstances restarts PostgreSQL where a setting needs it, when no pod is to be replaced: a new pod has
// its settings anyway.
func restartInstances(ctx context.Context, r *round) ([]Wait, error) {
	if r.acted {
		return nil, nil
	}
	ha := r.patroni(ctx)
	all := members(desired.Instances(r.cluster), r.facts, ha)
	done := r.restarts.of(r.key(), r.cluster.UID, r.cluster.Generation)
	for i := range all {
		all[i].Restarted = done[all[i].Instance]
	}
	for _, m := range all {
		if m.Outdated || m.Exists && !m.Wanted {
			return nil, nil
		}
	}
	return r.execute(ctx, nextRestart(all), ha)
}

// actOn decides with Patroni's word, which is asked for only when something is concerned.
func (r *round) actOn(ctx context.Context, decide func([]member) decision, concerned func(member) bool) ([]Wait, error) {
	wanted := desired.Instances(r.cluster)
	if _, any := first(members(wanted, r.facts, nil), concerned); !any || r.acted {
		return nil, nil
	}
	ha := r.patroni(ctx)
	return r.execute(ctx, decide(members(wanted, r.facts, ha)), ha)
}

// execute does what was decided. Every act leads to something that a watch sees, or is waited for.
func (r *round) execute(ctx context.Context, d decision, ha *haView) ([]Wait, error) {
	if d.Action != Nothing && d.Action != Await {
		if err := r.applier.Permit(ctx, r.cluster.Namespace); err != nil {
			return nil, err
		}
	}
	switch d.Action {
	case Nothing:
		return nil, nil
	case Await:
		if ha.wait != nil {
			return []Wait{*ha.wait}, nil
		}
		return []Wait{d.Wait}, nil
	case DeletePod:
		return r.did(d, ReplacingInstance, r.deletePod(ctx, d.Instance))
	case Remove:
		return r.did(d, RemovingInstance, r.removeInstance(ctx, d.Instance))
	case Switchover:
		return r.did(d, SwitchingOver, r.switchover(ctx, d, ha))
	case Restart:
		return r.did(d, RestartingInstance, r.restart(ctx, d.Instance, ha))
	default:
		return nil, fmt.Errorf("deciding on %s: unknown action %q", d.Instance, d.Action)
	}
}

var sayings = map[Reason]string{
	ReplacingInstance:  "replacing its pod by one that is as the spec wants it",
	RemovingInstance:   "removing it with its data: the spec wants it no more",
	SwitchingOver:      "handing the primary's role over",
	RestartingInstance: "restarting PostgreSQL for a changed setting",
}

func (r *round) did(d decision, reason Reason, err error) ([]Wait, error) {
	r.acted = true
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", d.Instance, sayings[reason], err)
	}
	message := sayings[reason]
	if d.Candidate != "" {
		message += " to " + d.Candidate
	}
	r.tell(nil, reason, string(d.Action), "%s: %s", d.Instance, message)
	return []Wait{{Party: d.Instance, Reason: reason, Message: message, Again: soon}}, nil
}

func (r *round) deletePod(ctx context.Context, instance string) error {
	pod := r.facts.pods[instance]
	// By UID alone: Patroni writes the pod's annotations all the time.
	return r.applier.DeleteWith(ctx, pod, client.Preconditions{UID: &pod.UID})
}

func (r *round) restart(ctx context.Context, instance string, ha *haView) error {
	pod := desired.PodName(instance)
	r.restarts.note(r.key(), r.cluster.UID, r.cluster.Generation, instance, ha.members[pod].Leader)
	return ha.api(pod).Restart(ctx)
}

func (r *round) key() client.ObjectKey { return client.ObjectKeyFromObject(r.cluster) }

func (r *round) switchover(ctx context.Context, d decision, ha *haView) error {
	return ha.answers.Switchover(ctx, desired.PodName(d.Instance), desired.PodName(d.Candidate))
}

// removeInstance deletes the StatefulSet; its claim follows in removeVolumes, also when the operator dies in between.
func (r *round) removeInstance(ctx context.Context, instance string) error {
	statefulSet := r.facts.statefulSets[instance]
	return r.applier.DeleteWith(ctx, statefulSet, client.Preconditions{UID: &statefulSet.UID}, client.PropagationPolicy("Background"))
}

// removeVolumes deletes the claims of instances that are neither wanted nor there, and only claims that the cluster controls: an orphan of a
// name that the spec does not want holds data, and is left alone.
func (r *round) removeVolumes(ctx context.Context) {
	wanted := desired.Instances(r.cluster)
	for _, volume := range r.facts.volumes {
		instance := volume.Labels[desired.InstanceLabel]
		if instance != "" && !isWanted(wanted, instance) && r.facts.statefulSets[instance] == nil {
			r.remove(ctx, volume)
		}
	}
}
