package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
)

var noon = metav1.NewTime(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Local())

func hippo() *v1beta1.PostgresCluster {
	return &v1beta1.PostgresCluster{ObjectMeta: withUID(metav1.ObjectMeta{Namespace: "zoo", Name: "hippo"}, owner.UID)}
}

func condition(kind string, status metav1.ConditionStatus, at metav1.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: "Because", Message: "it is", LastTransitionTime: at}
}

func (w *world) status(t *testing.T, status v1beta1.PostgresClusterStatus, owner string, parts ...string) (*v1beta1.PostgresCluster, bool) {
	t.Helper()
	live := hippo()
	w.get(t, live)
	applier := *w.applier
	applier.Owner = "tester-" + applier.Owner
	if owner != "" {
		applier.Owner = applier.Owner + "-other"
	}
	changed, err := applier.ApplyStatus(t.Context(), live, status, parts...)
	if err != nil {
		t.Fatal(err)
	}
	w.get(t, live)
	return live, changed
}

func TestStatusIsWrittenOnceAndKeepsTheTimeOfATransition(t *testing.T) {
	w := newWorld(t, hippo())
	later := metav1.NewTime(noon.Add(time.Hour))
	ready := func(status metav1.ConditionStatus, at metav1.Time) v1beta1.PostgresClusterStatus {
		return v1beta1.PostgresClusterStatus{ReadyInstances: "1/1", Conditions: []metav1.Condition{condition("Ready", status, at)}}
	}
	if _, changed := w.status(t, ready("True", noon), "", "readyInstances"); !changed {
		t.Error("nothing was written at first")
	}
	live, changed := w.status(t, ready("True", later), "", "readyInstances")
	if changed || !live.Status.Conditions[0].LastTransitionTime.Equal(&noon) {
		t.Errorf("at rest: changed %v, since %v", changed, live.Status.Conditions[0].LastTransitionTime)
	}
	live, changed = w.status(t, ready("False", later), "", "readyInstances")
	if !changed || !live.Status.Conditions[0].LastTransitionTime.Equal(&later) {
		t.Errorf("a transition: changed %v, since %v", changed, live.Status.Conditions[0].LastTransitionTime)
	}
}

func TestTwoControllersShareAStatus(t *testing.T) {
	w := newWorld(t, hippo())
	w.status(t, v1beta1.PostgresClusterStatus{ReadyInstances: "1/1", Conditions: []metav1.Condition{condition("Ready", "True", noon)}}, "", "readyInstances")
	mine := v1beta1.PostgresClusterStatus{TLS: &v1beta1.TLSStatus{State: "Steady"}, Conditions: []metav1.Condition{condition("TLSReady", "True", noon)}}
	live, _ := w.status(t, mine, "other", "tls")
	// That conditions are merged by type the fake cannot show, for it does not know the CRD.
	if live.Status.ReadyInstances != "1/1" || live.Status.TLS.State != "Steady" {
		t.Errorf("status: %+v", live.Status)
	}
	if _, changed := w.status(t, mine, "other", "tls"); changed {
		t.Error("the other's part made a write")
	}
}

func TestWhatIsGoneFromAPartGoes(t *testing.T) {
	w := newWorld(t, hippo())
	sets := func(names ...string) v1beta1.PostgresClusterStatus {
		var status v1beta1.PostgresClusterStatus
		for _, name := range names {
			status.Instances = append(status.Instances, v1beta1.InstanceSetStatus{Name: name, Replicas: 1})
		}
		return status
	}
	w.status(t, sets("a", "b"), "", "instances", "proxy")
	live, changed := w.status(t, sets("a"), "", "instances", "proxy")
	if !changed {
		t.Error("the loss was not noticed")
	}
	if diff := cmp.Diff([]v1beta1.InstanceSetStatus{{Name: "a", Replicas: 1}}, live.Status.Instances); diff != "" {
		t.Error(diff)
	}
}

// One that another owner wrote stays: that the fake cannot show, for it does not know the CRD.
func TestAConditionThatIsDesiredNoMoreGoes(t *testing.T) {
	w := newWorld(t, hippo())
	w.applier.Conditions = []string{"Ready", "Custom"}
	told := func(kinds ...string) v1beta1.PostgresClusterStatus {
		status := v1beta1.PostgresClusterStatus{}
		for _, kind := range kinds {
			status.Conditions = append(status.Conditions, condition(kind, "True", noon))
		}
		return status
	}
	w.status(t, told("Ready", "Custom"), "")
	live, changed := w.status(t, told("Ready"), "")
	if !changed || len(live.Status.Conditions) != 1 {
		t.Errorf("changed %v, conditions %+v", changed, live.Status.Conditions)
	}
	if _, changed := w.status(t, told("Ready"), ""); changed {
		t.Error("it is gone, and there was a write")
	}
}

// A member of status that the caller does not claim is not written, whatever the caller put there.
func TestOnlyTheNamedPartsAreWritten(t *testing.T) {
	w := newWorld(t, hippo())
	live, _ := w.status(t, v1beta1.PostgresClusterStatus{ReadyInstances: "1/1", TLS: &v1beta1.TLSStatus{State: "Steady"}}, "", "tls")
	if live.Status.ReadyInstances != "" || live.Status.TLS == nil {
		t.Errorf("status: %+v", live.Status)
	}
}
