package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"pgtls.dev/pgtls/api/v1beta1"
)

const quotaText = `create Pod hippo-00-1-0 in StatefulSet hippo-00-1 failed error: pods "hippo-00-1-0" is forbidden: exceeded quota: cpu, requested: limits.cpu=1, used: limits.cpu=2, limited: limits.cpu=2`

func (w *world) condition(kind string) metav1.Condition {
	w.t.Helper()
	cluster := &v1beta1.PostgresCluster{}
	w.exists(cluster, "hippo")
	condition := meta.FindStatusCondition(cluster.Status.Conditions, kind)
	if condition == nil {
		w.t.Fatalf("no condition %s", kind)
	}
	return *condition
}

func TestADeniedPodIsToldWithQuotaAndField(t *testing.T) {
	w, _ := running(t, asItIs)
	w.must(w.client.Delete(t.Context(), pod("hippo-00-1")))
	reads := 0
	w.denials = func(_ context.Context, s *appsv1.StatefulSet) (string, error) {
		reads++
		if s.Name != "hippo-00-1" {
			t.Errorf("asked about %s", s.Name)
		}
		return quotaText, nil
	}
	w.round()
	if reason, _ := w.progressing(); reason == string(PodCreationDenied) || reads != 0 || w.again == 0 || w.again > podPatience {
		t.Errorf("at first: %s, %d reads, the next round after %v", reason, reads, w.again)
	}
	w.at = w.at.Add(podPatience)
	w.round()
	for _, kind := range []string{"Ready", "Progressing"} {
		c := w.condition(kind)
		if c.Status != metav1.ConditionFalse || c.Reason != string(PodCreationDenied) || !strings.Contains(c.Message, "StatefulSet hippo-00-1") || !strings.Contains(c.Message, "QuotaExceeded: ") || !strings.Contains(c.Message, "cpu: limits.cpu") {
			t.Errorf("%s: %s %s %q", kind, c.Status, c.Reason, c.Message)
		}
	}
	if reads != 1 || w.again > 5*time.Second || w.again == 0 {
		t.Errorf("%d reads, the next round after %v", reads, w.again)
	}
	w.round()
	if writes := w.round(); len(writes) != 0 {
		t.Errorf("while it lasts: %v", writes)
	}
	back := pod("hippo-00-1", ready, inRole("replica"), atRevision("new"))
	w.must(w.client.Create(t.Context(), back))
	reads = 0
	w.round()
	if c := w.condition("Ready"); c.Status != metav1.ConditionTrue || reads != 0 {
		t.Errorf("%s %s, %d reads", c.Status, c.Reason, reads)
	}
}

// A pod that is replaced is missing for a moment; the event of a denial that is over may be there for an hour.
func TestThePodOfAReplacementIsNotTakenForADeniedOne(t *testing.T) {
	w, _ := running(t, asItIs)
	w.denials = func(context.Context, *appsv1.StatefulSet) (string, error) {
		t.Error("events were read")
		return quotaText, nil
	}
	for range 3 {
		w.must(w.client.Delete(t.Context(), pod("hippo-00-1")))
		w.round()
		w.must(w.client.Create(t.Context(), pod("hippo-00-1", ready, inRole("replica"), atRevision("new"))))
		w.round()
		w.at = w.at.Add(time.Hour)
	}
}

func TestUnreadableEventsAreNoFailure(t *testing.T) {
	w, _ := running(t, asItIs)
	w.must(w.client.Delete(t.Context(), pod("hippo-00-1")))
	w.denials = func(context.Context, *appsv1.StatefulSet) (string, error) { return "", errors.New("forbidden") }
	w.round()
	w.at = w.at.Add(podPatience)
	w.round()
	if reason, message := w.progressing(); reason == string(StepFailed) || !strings.Contains(message, "StatefulSet hippo-00-1: its pod is not there yet") {
		t.Errorf("%s %q", reason, message)
	}
}

func TestDeniedPoolersAreTold(t *testing.T) {
	w, _ := running(t, withPooler, material("hippo-pgbouncer"))
	w.round()
	deployment := w.live("Deployment hippo-pgbouncer").(*appsv1.Deployment)
	deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: failedCreate, Message: strings.TrimPrefix(quotaText, "create Pod hippo-00-1-0 in ")}}
	w.must(w.client.Status().Update(t.Context(), deployment))
	w.round()
	if c := w.condition("Ready"); c.Reason != string(PodCreationDenied) || !strings.Contains(c.Message, "Deployment hippo-pgbouncer") || !strings.Contains(c.Message, "limits.cpu") {
		t.Errorf("%s %q", c.Reason, c.Message)
	}
}

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
	w := newWorld(t)
	asked := ""
	live := interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		set := (&client.ListOptions{}).ApplyOptions(options)
		asked = set.Namespace + " " + set.FieldSelector.String()
		list.(*corev1.EventList).Items = []corev1.Event{event("no", now)}
		return nil
	}})
	s := statefulSet("hippo-00-0")
	s.UID = "u1"
	if got, err := readDenials(live)(t.Context(), s); err != nil || got != "no" || asked != "zoo involvedObject.kind=StatefulSet,involvedObject.uid=u1,reason=FailedCreate" {
		t.Errorf("%q, %v, asked for %q", got, err, asked)
	}
}
