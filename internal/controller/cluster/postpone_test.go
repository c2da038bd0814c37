package cluster

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
)

// patient is a world that reports no state which goes by itself.
func patient(t *testing.T, w *world) *world {
	t.Helper()
	w.patience = reportPatience
	return w
}

// A new cluster is reported once it is made, and not what it lacked for a moment.
func TestANewClusterIsReportedOnceItIsMade(t *testing.T) {
	w := patient(t, newWorld(t, hippo()))
	for _, name := range []string{"objects are made", "material is awaited"} {
		w.round()
		w.at = w.at.Add(time.Second)
		if w.tries["apply status PostgresCluster hippo"] > 0 {
			t.Errorf("%s: reported", name)
		}
		if w.again <= 0 || w.again > reportPatience {
			t.Errorf("%s: looked at again after %s", name, w.again)
		}
	}
	for _, party := range []string{"hippo-00-0", "hippo-00-1"} {
		w.must(w.client.Create(t.Context(), material(party)))
	}
	w.round() // the StatefulSets are made
	if reason, _ := w.progressing(); reason != "" {
		t.Errorf("reported %s though StatefulSets were made", reason)
	}
	w.round()
	if reason, _ := w.progressing(); reason == "" || w.tries["apply status PostgresCluster hippo"] != 1 {
		t.Errorf("%q after %d writes", reason, w.tries["apply status PostgresCluster hippo"])
	}
}

func TestAWaitThatLastsIsReported(t *testing.T) {
	w := patient(t, newWorld(t, hippo()))
	w.round()
	w.at = w.at.Add(w.again)
	w.round()
	if reason, _ := w.progressing(); reason != string(decide.AwaitingMaterial) {
		t.Errorf("reported %q after %s", reason, reportPatience)
	}
	if w.again != 0 {
		t.Errorf("what is reported is looked at again after %s", w.again)
	}
}

// An object that another program changes back and forth is written in each round: that the cluster has a state is reported all the same.
func TestAnObjectThatIsWrittenInEachRoundHidesNothing(t *testing.T) {
	w := patient(t, newWorld(t, hippo(), material("hippo-00-0"), material("hippo-00-1")))
	for range 5 {
		w.round()
		w.at = w.at.Add(reportPatience / 3)
		config := w.live("ConfigMap hippo-config").(*corev1.ConfigMap)
		config.Data["patroni.yaml"] = "spoiled"
		w.must(w.client.Update(t.Context(), config))
	}
	if reason, _ := w.progressing(); reason == "" {
		t.Error("nothing is reported")
	}
}

func TestWhatIsWrongIsReportedAtOnce(t *testing.T) {
	w := patient(t, newWorld(t, hippo()))
	w.deny = func(_, kind, _ string) error {
		if kind == "Service" {
			return lasting()["Forbidden"](0)
		}
		return nil
	}
	w.round()
	if reason, _ := w.progressing(); reason != string(decide.StepFailed) {
		t.Errorf("reported %q", reason)
	}
}

// That a cluster is not ready any more waits for nothing.
func TestAClusterThatTurnsBadIsReportedAtOnce(t *testing.T) {
	w, z := running(t, asItIs)
	z.rows = func(string) [][]string { return nil }
	w.round()
	patient(t, w)
	if !meta.IsStatusConditionTrue(w.conditions(), readyCondition) {
		t.Fatalf("not ready at first: %v", w.conditions())
	}
	w.must(w.client.Delete(t.Context(), pod("hippo-00-1")))
	config := w.live("ConfigMap hippo-config").(*corev1.ConfigMap)
	config.Data["patroni.yaml"] = "spoiled" // so that the round writes
	w.must(w.client.Update(t.Context(), config))
	w.round()
	if meta.IsStatusConditionTrue(w.conditions(), readyCondition) {
		t.Error("a cluster without an instance is said to be ready")
	}
}

func (w *world) conditions() []metav1.Condition {
	w.t.Helper()
	cluster := &v1beta1.PostgresCluster{}
	if !w.exists(cluster, "hippo") {
		w.t.Fatal("the cluster is gone")
	}
	return cluster.Status.Conditions
}
