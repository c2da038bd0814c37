package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/denial"
	"pgtls.dev/pgtls/internal/delivery/kube"
)

// podPatience is how long a pod may be missing before its StatefulSet is asked why there is none.
const podPatience = 2 * time.Second

// denials tell why a pod that should be there is not made.
type denials struct {
	memory *denial.Memory
	events denial.EventReader
}

// lookForDeniedPods says why a pod that should be there is not made: a ResourceQuota or a policy denies it to the StatefulSet, which has no
// condition for it and says so in an event. Events are read live, and only while a pod is missing.
func lookForDeniedPods(ctx context.Context, r *round) ([]decide.Wait, error) {
	var waits []decide.Wait
	for _, name := range slices.Sorted(maps.Keys(r.seen.statefulSets)) {
		statefulSet := r.seen.statefulSets[name]
		if r.seen.pods[name] != nil || statefulSet.DeletionTimestamp != nil {
			r.denials.memory.Present(r.seen.key(), name)
			continue
		}
		waits = append(waits, r.denials.whyNoPod(ctx, r.seen, statefulSet))
	}
	if pooler := r.seen.pooler; pooler != nil {
		for _, condition := range pooler.Status.Conditions {
			if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
				waits = append(waits, podDenied("Deployment "+pooler.Name, condition.Message))
			}
		}
	}
	return waits, nil
}

// whyNoPod asks after a moment only: a pod that is replaced is missing too, and an event of an hour ago would be taken for the cause.
func (d denials) whyNoPod(ctx context.Context, seen observed, statefulSet *appsv1.StatefulSet) decide.Wait {
	party := "StatefulSet " + statefulSet.Name
	awaited := decide.Wait{Party: party, Reason: decide.AwaitingInstance, Message: "its pod is not there yet", Again: podPatience}
	if missing := seen.now.Sub(d.memory.Missing(seen.key(), statefulSet.Name, seen.now)); !decide.LookedAt(statefulSet) || missing < podPatience {
		return awaited
	}
	message, err := d.events(ctx, statefulSet)
	if err != nil {
		// Why there is no pod is not known then; that there is none is said all the same.
		log.FromContext(ctx).V(1).Info("the events of a StatefulSet cannot be read", "statefulSet", statefulSet.Name, "error", err.Error())
	}
	if message == "" {
		awaited.Again = 2 * podPatience
		return awaited
	}
	return podDenied(party, message)
}

func podDenied(party, message string) decide.Wait {
	return decide.Wait{Party: party, Reason: decide.PodCreationDenied, Message: "its pods are not made: " + kube.ExplainMessage(message).String(), Again: 2 * podPatience}
}
