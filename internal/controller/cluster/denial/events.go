package denial

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// failedCreate is the reason of the events with which Kubernetes says that it could not make a pod.
const failedCreate = "FailedCreate"

// EventReader returns the newest message with which a StatefulSet said that it could not make its pod; empty when there is none.
type EventReader func(context.Context, *appsv1.StatefulSet) (string, error)

// ReadEvents reads the events of the API server: no cache holds them.
func ReadEvents(live client.Reader) EventReader {
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
