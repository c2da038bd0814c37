package cluster

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
)

func seen(pods ...*corev1.Pod) facts {
	f := facts{pods: map[string]*corev1.Pod{}}
	for _, p := range pods {
		f.pods[p.Labels["pgtls.dev/instance"]] = p
	}
	return f
}

func conditionOf(t *testing.T, status v1beta1.PostgresClusterStatus, kind, want string) string {
	t.Helper()
	condition := meta.FindStatusCondition(status.Conditions, kind)
	if got := string(condition.Status) + " " + condition.Reason; got != want {
		t.Errorf("%s: %s (%s), want %s", kind, got, condition.Message, want)
	}
	return condition.Message
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	primaryPod := pod("hippo-00-0", ready, inRole("primary"))
	replica := pod("hippo-00-1", ready, inRole("replica"))
	poolers := func(n int32) facts {
		f := seen(primaryPod, replica)
		f.pooler = &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 2, ReadyReplicas: n}}
		return f
	}
	for _, c := range []struct {
		name    string
		cluster *v1beta1.PostgresCluster
		facts   facts
		want    string
		count   string
	}{
		{"nothing there", hippo(), seen(), "False NoPrimary", "0/2"},
		{"no primary", hippo(), seen(replica), "False NoPrimary", "1/2"},
		{"a replica is missing", hippo(), seen(primaryPod), "False InstancesNotReady", "1/2"},
		{"all there", hippo(), seen(primaryPod, replica), "True AllReady", "2/2"},
		{"the old word for a primary", hippo(), seen(pod("hippo-00-0", ready, inRole("master")), replica), "True AllReady", "2/2"},
		{"a pooler is missing", hippo(withPooler), poolers(1), "False PoolersNotReady", "2/2"},
		{"with poolers", hippo(withPooler), poolers(2), "True AllReady", "2/2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := statusOf(c.cluster, c.facts, outcome{})
			conditionOf(t, status, "Ready", c.want)
			if status.ReadyInstances != c.count {
				t.Errorf("ready instances %s, want %s", status.ReadyInstances, c.count)
			}
		})
	}
}

func TestProgressSaysFirstWhatTheUserHasToLookAfter(t *testing.T) {
	well := seen(pod("hippo-00-0", ready, inRole("primary")), pod("hippo-00-1", ready))
	waiting := decide.Wait{Party: "hippo-00-1", Reason: decide.AwaitingMaterial, Message: "no Secret"}
	foreign := decide.Wait{Party: "Secret x", Reason: decide.NotLabelled, Message: "not ours"}
	orphan := decide.Wait{Party: "Secret y", Reason: decide.OrphanNotWanted, Message: "left"}
	denied := decide.Wait{Party: "StatefulSet x", Reason: decide.PodCreationDenied, Message: "quota"}
	failed := attempt.Failure{Step: "make services", About: "Service zoo/x", Text: "AddressesExhausted: none is free"}
	for _, c := range []struct {
		name    string
		facts   facts
		done    outcome
		want    string
		message string
	}{
		{"at rest", well, outcome{}, "False Settled", "as the spec wants"},
		{"not ready", seen(), outcome{}, "True NoPrimary", "primary"},
		{"waiting", well, outcome{waits: []decide.Wait{waiting}}, "True AwaitingMaterial", "hippo-00-1: no Secret"},
		{"stuck", well, outcome{waits: []decide.Wait{waiting, foreign}, failures: []attempt.Failure{failed}}, "False NotLabelled", "Secret x: not ours; Service zoo/x: AddressesExhausted: none is free"},
		{"failed", well, outcome{waits: []decide.Wait{waiting}, failures: []attempt.Failure{failed, failed}}, "True StepFailed", "Service zoo/x: AddressesExhausted: none is free"},
		{"orphans", well, outcome{waits: []decide.Wait{orphan}}, "False OrphanNotWanted", "Secret y: left"},
		{"orphans, and not ready", seen(), outcome{waits: []decide.Wait{orphan}}, "True NoPrimary", "no instance is a primary that is ready; Secret y: left"},
		{"orphans while there is progress", well, outcome{waits: []decide.Wait{orphan, waiting}}, "True AwaitingMaterial", "hippo-00-1: no Secret; Secret y: left"},
		{"orphans, and a failure", well, outcome{waits: []decide.Wait{orphan, waiting}, failures: []attempt.Failure{failed}}, "True StepFailed", "none is free; Secret y: left"},
		{"denied", seen(), outcome{waits: []decide.Wait{denied}}, "False PodCreationDenied", "StatefulSet x: quota"},
	} {
		t.Run(c.name, func(t *testing.T) {
			message := conditionOf(t, statusOf(hippo(), c.facts, c.done), "Progressing", c.want)
			if !strings.Contains(message, c.message) || strings.Contains(message, "\n") {
				t.Errorf("message %q", message)
			}
		})
	}
}

func TestManyWaitsStayReadable(t *testing.T) {
	var waits []decide.Wait
	for range 100 {
		waits = append(waits, decide.Wait{Party: "hippo-00-1", Reason: decide.AwaitingMaterial, Message: strings.Repeat("long ", 100)})
	}
	message := conditionOf(t, statusOf(hippo(), seen(), outcome{waits: waits}), "Progressing", "True AwaitingMaterial")
	if len(message) > 1000 {
		t.Errorf("%d characters", len(message))
	}
}

func TestAnotherRoundComesOnlyForWhatNoWatchTells(t *testing.T) {
	for _, c := range []struct {
		name  string
		waits []decide.Wait
		want  bool
	}{
		{"at rest", nil, false},
		{"what a watch tells", []decide.Wait{{Reason: decide.AwaitingMaterial}}, false},
		{"the sooner of two", []decide.Wait{{Again: decide.Later}, {Again: decide.Soon}}, true},
	} {
		got, err := outcome{waits: c.waits}.result(0, nil)
		if err != nil || (got.RequeueAfter > 0) != c.want || c.want && got.RequeueAfter != decide.Soon {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestPatronisAnnotationsBeginNoRound(t *testing.T) {
	before := pod("hippo-00-0", ready)
	after := before.DeepCopy()
	after.Annotations = map[string]string{"status": `{"xlog_location":1}`}
	after.ResourceVersion = "2"
	if podFactsDiffer(before, after) {
		t.Error("an annotation counts")
	}
	for name, change := range map[string]func(*corev1.Pod){
		"role":  inRole("primary"),
		"ready": func(p *corev1.Pod) { p.Status.Conditions = nil },
		"phase": func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"start": func(p *corev1.Pod) { p.Status.ContainerStatuses = nil },
	} {
		changed := before.DeepCopy()
		change(changed)
		if !podFactsDiffer(before, changed) {
			t.Errorf("%s does not count", name)
		}
	}
}
