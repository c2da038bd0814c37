package cluster

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

// An executor does to one instance what was decided.
type executor struct {
	seen     observed
	objects  *writer
	events   teller
	restarts *decide.Restarts
	acted    bool // an instance was acted on, which is enough for one round
}

// execute does what was decided. Every act leads to something that a watch sees, or is waited for.
func (e *executor) execute(ctx context.Context, d decide.Decision, view *patroniView) ([]decide.Wait, error) {
	if d.Action != decide.Nothing && d.Action != decide.Await {
		if err := e.objects.permit(ctx); err != nil {
			return nil, err
		}
	}
	switch d.Action {
	case decide.Nothing:
		return nil, nil
	case decide.Await:
		if view.wait != nil {
			return []decide.Wait{*view.wait}, nil
		}
		return []decide.Wait{d.Wait}, nil
	case decide.DeletePod:
		return e.did(d, decide.ReplacingInstance, e.deletePod(ctx, d.Instance))
	case decide.Remove:
		return e.did(d, decide.RemovingInstance, e.removeInstance(ctx, d.Instance))
	case decide.Switchover:
		return e.did(d, decide.SwitchingOver, view.answers.Switchover(ctx, desired.PodName(d.Instance), desired.PodName(d.Candidate)))
	case decide.Restart:
		return e.did(d, decide.RestartingInstance, e.restart(ctx, d.Instance, view))
	default:
		return nil, fmt.Errorf("deciding on %s: unknown action %q", d.Instance, d.Action)
	}
}

var sayings = map[decide.Reason]string{
	decide.ReplacingInstance:  "replacing its pod by one that is as the spec wants it",
	decide.RemovingInstance:   "removing it with its data: the spec wants it no more",
	decide.SwitchingOver:      "handing the primary's role over",
	decide.RestartingInstance: "restarting PostgreSQL for a changed setting",
}

func (e *executor) did(d decide.Decision, reason decide.Reason, err error) ([]decide.Wait, error) {
	e.acted = true
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", d.Instance, sayings[reason], err)
	}
	message := sayings[reason]
	if d.Candidate != "" {
		message += " to " + d.Candidate
	}
	e.events.tell(nil, reason, string(d.Action), "%s: %s", d.Instance, message)
	return []decide.Wait{{Party: d.Instance, Reason: reason, Message: message, Again: decide.Soon}}, nil
}

func (e *executor) deletePod(ctx context.Context, instance string) error {
	pod := e.seen.pods[instance]
	// By UID alone: Patroni writes the pod's annotations all the time.
	return e.objects.applier.DeleteWith(ctx, pod, client.Preconditions{UID: &pod.UID})
}

func (e *executor) restart(ctx context.Context, instance string, view *patroniView) error {
	pod := desired.PodName(instance)
	e.restarts.Note(e.seen.key(), e.seen.cluster.UID, e.seen.cluster.Generation, instance, view.states[pod].Leader)
	return view.api(pod).Restart(ctx)
}

// withRestarts adds which members were restarted for the present spec already.
func (e *executor) withRestarts(all []decide.Member) []decide.Member {
	done := e.restarts.Of(e.seen.key(), e.seen.cluster.UID, e.seen.cluster.Generation)
	for i := range all {
		all[i].Restarted = done[all[i].Instance]
	}
	return all
}

// removeInstance deletes the StatefulSet; its claim follows in removeVolumes, also when the operator dies in between.
func (e *executor) removeInstance(ctx context.Context, instance string) error {
	statefulSet := e.seen.statefulSets[instance]
	return e.objects.applier.DeleteWith(ctx, statefulSet, client.Preconditions{UID: &statefulSet.UID}, client.PropagationPolicy("Background"))
}
