package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// podPatience is how long a pod may be missing before its StatefulSet is asked why there is none.
const podPatience = 2 * time.Second

// failedCreate is the reason of the events, and of the condition ReplicaFailure, with which Kubernetes says that it could not make a pod.
const failedCreate = "FailedCreate"

// lookForDeniedPods says why a pod that should be there is not made: a ResourceQuota or a policy denies it to the StatefulSet, which has no
// condition for it and says so in an event. Events are read live, and only while a pod is missing.
func lookForDeniedPods(ctx context.Context, r *round) ([]Wait, error) {
	var waits []Wait
	for _, name := range slices.Sorted(maps.Keys(r.facts.statefulSets)) {
		statefulSet := r.facts.statefulSets[name]
		if r.facts.pods[name] != nil || statefulSet.DeletionTimestamp != nil {
			r.retries.podThere(r.key(), name)
			continue
		}
		waits = append(waits, r.whyNoPod(ctx, statefulSet))
	}
	if pooler := r.facts.pooler; pooler != nil {
		for _, condition := range pooler.Status.Conditions {
			if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
				waits = append(waits, podDenied("Deployment "+pooler.Name, condition.Message))
			}
		}
	}
	return waits, nil
}

// whyNoPod asks after a moment only: a pod that is replaced is missing too, and an event of an hour ago would be taken for the cause.
func (r *round) whyNoPod(ctx context.Context, statefulSet *appsv1.StatefulSet) Wait {
	party := "StatefulSet " + statefulSet.Name
	awaited := Wait{Party: party, Reason: AwaitingInstance, Message: "its pod is not there yet", Again: podPatience}
	if missing := r.now.Sub(r.retries.podMissing(r.key(), statefulSet.Name, r.now)); !lookedAt(statefulSet) || missing < podPatience {
		return awaited
	}
	message, err := r.denials(ctx, statefulSet)
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

func podDenied(party, message string) Wait {
	return Wait{Party: party, Reason: PodCreationDenied, Message: "its pods are not made: " + kube.ExplainMessage(message).String(), Again: 2 * podPatience}
}

// eventReader returns the newest message with which a StatefulSet said that it could not make its pod; empty when there is none.
type eventReader func(context.Context, *appsv1.StatefulSet) (string, error)

func readDenials(live client.Reader) eventReader {
	return func(ctx context.Context, statefulSet *appsv1.StatefulSet) (string, error) {
		var list corev1.EventList
		selector := fields.AndSelectors(fields.OneTermEqualSelector("involvedObject.kind", "StatefulSet"),
			fields.OneTermEqualSelector("involvedObject.uid", string(statefulSet.UID)), fields.OneTermEqualSelector("reason", failedCreate))
		err := live.List(ctx, &list, client.InNamespace(statefulSet.Namespace), client.MatchingFieldsSelector{Selector: selector})
		if err != nil {
			return "", fmt.Errorf("listing events of StatefulSet %s: %w", statefulSet.Name, err)
		}
		return newestMessage(list.Items), nil
	}
}

func newestMessage(events []corev1.Event) string {
	if len(events) == 0 {
		return ""
	}
	return slices.MaxFunc(events, func(a, b corev1.Event) int { return lastSeen(a).Compare(lastSeen(b)) }).Message
}

// lastSeen reads the time from where the two APIs of events have it.
func lastSeen(event corev1.Event) time.Time {
	times := []metav1.Time{event.LastTimestamp, event.FirstTimestamp, event.CreationTimestamp, {Time: event.EventTime.Time}}
	if event.Series != nil {
		times = append(times, metav1.Time{Time: event.Series.LastObservedTime.Time})
	}
	return slices.MaxFunc(times, func(a, b metav1.Time) int { return a.Compare(b.Time) }).Time
}

// isWanted reports whether the spec wants an instance of this name.
func isWanted(instances []desired.Instance, name string) bool {
	return slices.ContainsFunc(instances, func(i desired.Instance) bool { return i.Name == name })
}
