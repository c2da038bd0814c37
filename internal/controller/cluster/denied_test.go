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

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
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
	w.denials.events = func(_ context.Context, s *appsv1.StatefulSet) (string, error) {
		reads++
		if s.Name != "hippo-00-1" {
			t.Errorf("asked about %s", s.Name)
		}
		return quotaText, nil
	}
	w.round()
	if reason, _ := w.progressing(); reason == string(decide.PodCreationDenied) || reads != 0 || w.again == 0 || w.again > podPatience {
		t.Errorf("at first: %s, %d reads, the next round after %v", reason, reads, w.again)
	}
	w.at = w.at.Add(podPatience)
	w.round()
	for _, kind := range []string{"Ready", "Progressing"} {
		c := w.condition(kind)
		if c.Status != metav1.ConditionFalse || c.Reason != string(decide.PodCreationDenied) || !strings.Contains(c.Message, "StatefulSet hippo-00-1") || !strings.Contains(c.Message, "QuotaExceeded: ") || !strings.Contains(c.Message, "cpu: limits.cpu") {
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
	w.denials.events = func(context.Context, *appsv1.StatefulSet) (string, error) {
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
	w.denials.events = func(context.Context, *appsv1.StatefulSet) (string, error) { return "", errors.New("forbidden") }
	w.round()
	w.at = w.at.Add(podPatience)
	w.round()
	if reason, message := w.progressing(); reason == string(decide.StepFailed) || !strings.Contains(message, "StatefulSet hippo-00-1: its pod is not there yet") {
		t.Errorf("%s %q", reason, message)
	}
}

func TestDeniedPoolersAreTold(t *testing.T) {
	w, _ := running(t, withPooler, material("hippo-pgbouncer"))
	w.round()
	deployment := w.live("Deployment hippo-pgbouncer").(*appsv1.Deployment)
	deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: strings.TrimPrefix(quotaText, "create Pod hippo-00-1-0 in ")}}
	w.must(w.client.Status().Update(t.Context(), deployment))
	w.round()
	if c := w.condition("Ready"); c.Reason != string(decide.PodCreationDenied) || !strings.Contains(c.Message, "Deployment hippo-pgbouncer") || !strings.Contains(c.Message, "limits.cpu") {
		t.Errorf("%s %q", c.Reason, c.Message)
	}
}
