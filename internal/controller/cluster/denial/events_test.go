package denial

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestTheNewestEventOfTheStatefulSetIsRead(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	event := func(message string, last time.Time) corev1.Event {
		return corev1.Event{Message: message, LastTimestamp: metav1.NewTime(last)}
	}
	series := event("series", now)
	series.Series = &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(now.Add(time.Hour))}
	for want, events := range map[string][]corev1.Event{
		"":       nil,
		"newer":  {event("older", now), event("newer", now.Add(time.Minute)), event("oldest", now.Add(-time.Minute))},
		"series": {event("x", now.Add(time.Minute)), series},
	} {
		if got := newestMessage(events); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	asked := ""
	live := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		set := (&client.ListOptions{}).ApplyOptions(options)
		asked = set.Namespace + " " + set.FieldSelector.String()
		list.(*corev1.EventList).Items = []corev1.Event{event("no", now)}
		return nil
	}})
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo-00-0", UID: "u1"}}
	if got, err := ReadEvents(live)(t.Context(), s); err != nil || got != "no" || asked != "zoo involvedObject.kind=StatefulSet,involvedObject.uid=u1,reason=FailedCreate" {
		t.Errorf("%q, %v, asked for %q", got, err, asked)
	}
}
