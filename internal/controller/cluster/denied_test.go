package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/desired"
)

const quotaText = `create Pod hippo-00-1-0 in StatefulSet hippo-00-1 failed error: pods "hippo-00-1-0" is forbidden: exceeded quota: cpu, requested: limits.cpu=1, used: limits.cpu=2, limited: limits.cpu=2`

// cpuQuota is the quota that quotaText is about, as its controller has computed it.
func cpuQuota(hard, used string) *corev1.ResourceQuota {
	limits := corev1.ResourceList{"limits.cpu": resource.MustParse(hard)}
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "cpu"},
		Spec:       corev1.ResourceQuotaSpec{Hard: limits},
		Status:     corev1.ResourceQuotaStatus{Hard: limits, Used: corev1.ResourceList{"limits.cpu": resource.MustParse(used)}},
	}
}

// deniedBy is a world in which the pod of hippo-00-1 is missing, and its StatefulSet says why.
func deniedBy(t *testing.T, message string, extra ...client.Object) *world {
	t.Helper()
	w, z := running(t, asItIs, extra...)
	z.rows = func(string) [][]string { return nil }
	w.must(w.client.Delete(t.Context(), pod("hippo-00-1")))
	w.denials.events = func(context.Context, *appsv1.StatefulSet) (string, error) { return message, nil }
	w.round()
	w.at = w.at.Add(podPatience)
	return w
}

// prompted returns when the StatefulSet was prompted last, or "".
func (w *world) prompted() string {
	return w.live("StatefulSet hippo-00-1").GetAnnotations()[desired.PromptAnnotation]
}

// Kubernetes tries again only after its own pause, of up to 1,000 s, when a quota has room again.
func TestAStatefulSetIsPromptedOnceItsQuotaHasRoom(t *testing.T) {
	quota := cpuQuota("2", "2")
	w := deniedBy(t, quotaText, quota)
	template := w.live("StatefulSet hippo-00-1").(*appsv1.StatefulSet).Spec.Template
	for range 5 {
		w.round()
		w.at = w.at.Add(time.Minute)
	}
	if c := w.condition("Ready"); w.prompted() != "" || c.Reason != string(decide.PodCreationDenied) {
		t.Fatalf("prompted at %q while the quota is used up; %s", w.prompted(), c.Reason)
	}
	room := cpuQuota("3", "2")
	room.ResourceVersion = w.live("ResourceQuota cpu").GetResourceVersion()
	w.must(w.client.Update(t.Context(), room))
	w.round()
	if want := w.at.Format(time.RFC3339); w.prompted() != want {
		t.Errorf("prompted at %q, want %q", w.prompted(), want)
	}
	if c := w.condition("Progressing"); c.Reason != string(decide.AwaitingInstance) || !strings.Contains(c.Message, "ResourceQuota cpu") {
		t.Errorf("%s %q", c.Reason, c.Message)
	}
	if !cmp.Equal(template, w.live("StatefulSet hippo-00-1").(*appsv1.StatefulSet).Spec.Template) {
		t.Error("the pod template was changed")
	}
	if writes := w.round(); len(writes) != 0 || w.prompted() != w.at.Format(time.RFC3339) {
		t.Errorf("in the pause after it: %v", writes)
	}
}

func TestWalkPromptsBecomeRare(t *testing.T) {
	for name, c := range map[string]struct {
		message    string
		quota      *corev1.ResourceQuota
		soon, most int // in half a minute, and in the ten minutes after it
	}{
		"the quota has room":       {quotaText, cpuQuota("3", "2"), 3, 6},
		"the quota is gone":        {quotaText, cpuQuota("3", "2"), 3, 6},
		"the quota is used up":     {quotaText, cpuQuota("2", "2"), 0, 0},
		"nothing but an attempt":   {`admission webhook "no.example.org" denied the request`, cpuQuota("3", "2"), 1, 5},
		"no word on what denies":   {"", cpuQuota("3", "2"), 0, 0},
		"the quota is not counted": {quotaText, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "cpu"}, Spec: cpuQuota("3", "2").Spec}, 1, 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := deniedBy(t, c.message, c.quota)
			if name == "the quota is gone" {
				w.must(w.client.Delete(t.Context(), c.quota))
			}
			count := func(length, step time.Duration) int {
				before := w.tries["patch StatefulSet hippo-00-1"]
				for end := w.at.Add(length); w.at.Before(end); w.at = w.at.Add(step) {
					w.round()
				}
				return w.tries["patch StatefulSet hippo-00-1"] - before
			}
			if got := count(30*time.Second, 2*podPatience); got != c.soon {
				t.Errorf("%d prompts in half a minute, want %d", got, c.soon)
			}
			if got := count(10*time.Minute, 20*time.Second); got > c.most || got == 0 && c.most > 0 {
				t.Errorf("%d prompts in the ten minutes after it, want at most %d", got, c.most)
			}
		})
	}
}

// A pod that is missing for no known reason costs the API server ever less, and one that Kubernetes has not looked at costs nothing.
func TestAMissingPodIsAskedForEverMoreRarely(t *testing.T) {
	w := deniedBy(t, "")
	var pauses []time.Duration
	for range 7 {
		w.round()
		pauses = append(pauses, w.again)
		w.at = w.at.Add(w.again)
	}
	if want := []time.Duration{4, 6, 12, 24, 48, 60, 60}; !cmp.Equal(pauses, seconds(want)) {
		t.Errorf("pauses %v", pauses)
	}
	statefulSet := w.live("StatefulSet hippo-00-1").(*appsv1.StatefulSet)
	statefulSet.Generation = statefulSet.Status.ObservedGeneration + 1
	w.must(w.client.Update(t.Context(), statefulSet))
	if w.round(); w.again != 0 {
		t.Errorf("a StatefulSet that was not looked at is asked about after %s", w.again)
	}
}

func seconds(counts []time.Duration) (out []time.Duration) {
	for _, count := range counts {
		out = append(out, count*time.Second)
	}
	return out
}

// A pod that came and is denied again is another case: it is prompted at once.
func TestThePauseEndsWithThePod(t *testing.T) {
	w := deniedBy(t, quotaText, cpuQuota("3", "2"))
	w.round()
	first := w.prompted()
	w.must(w.client.Create(t.Context(), pod("hippo-00-1", ready, inRole("replica"), atRevision("new"))))
	w.round()
	w.must(w.client.Delete(t.Context(), pod("hippo-00-1")))
	w.round()
	w.at = w.at.Add(podPatience)
	w.round()
	if first == "" || w.prompted() == first {
		t.Errorf("prompted at %q and then at %q", first, w.prompted())
	}
}

// A prompt that the API server denies keeps nothing else from being done.
func TestAPromptThatFailsIsReported(t *testing.T) {
	w := deniedBy(t, quotaText, cpuQuota("3", "2"))
	w.deny = func(verb, kind, _ string) error {
		if verb == "patch" && kind == "StatefulSet" {
			return lasting()["Forbidden"](0)
		}
		return nil
	}
	w.round()
	if reason, message := w.progressing(); reason != string(decide.StepFailed) || !strings.Contains(message, "StatefulSet zoo/hippo-00-1: Forbidden") {
		t.Errorf("%s %q", reason, message)
	}
}

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
	w, _ := running(t, asItIs, cpuQuota("2", "2"))
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
	w, _ := running(t, withPooler, material("hippo-pgbouncer"), cpuQuota("2", "2"))
	w.round()
	deployment := w.live("Deployment hippo-pgbouncer").(*appsv1.Deployment)
	deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: strings.TrimPrefix(quotaText, "create Pod hippo-00-1-0 in ")}}
	w.must(w.client.Status().Update(t.Context(), deployment))
	w.round()
	if c := w.condition("Ready"); c.Reason != string(decide.PodCreationDenied) || !strings.Contains(c.Message, "Deployment hippo-pgbouncer") || !strings.Contains(c.Message, "limits.cpu") {
		t.Errorf("%s %q", c.Reason, c.Message)
	}
	room := cpuQuota("9", "2")
	room.ResourceVersion = w.live("ResourceQuota cpu").GetResourceVersion()
	w.must(w.client.Update(t.Context(), room))
	w.round()
	if got, want := w.live("Deployment hippo-pgbouncer").GetAnnotations()[desired.PromptAnnotation], w.at.Format(time.RFC3339); got != want {
		t.Errorf("prompted at %q, want %q", got, want)
	}
}
