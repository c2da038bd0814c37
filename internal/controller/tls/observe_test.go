package tls

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation"
)

func TestWhichPodsMayServe(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	cases := map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"started":         {func(*corev1.Pod) {}, true},
		"still pending":   {func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, true},
		"no address":      {func(p *corev1.Pod) { p.Status.PodIP = "" }, false},
		"failed":          {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false},
		"done":            {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, false},
		"being deleted":   {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, false},
		"nothing known":   {func(p *corev1.Pod) { p.Status.InitContainerStatuses = nil }, false},
		"agent unknown":   {func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Started = nil }, false},
		"agent starting":  {func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Started = ptr.To(false) }, false},
		"another sidecar": {func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Name = "mesh" }, false},
		"agent crashed, database runs": {func(p *corev1.Pod) {
			p.Status.InitContainerStatuses[0].Started = ptr.To(false)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: desired.DatabaseContainer, State: running}}
		}, true},
		"both down": {func(p *corev1.Pod) {
			p.Status.InitContainerStatuses[0].Started = ptr.To(false)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: desired.DatabaseContainer}}
		}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1",
				InitContainerStatuses: []corev1.ContainerStatus{{Name: desired.AgentContainer, Started: ptr.To(true)}}}}
			c.change(pod)
			if got := serves(pod); got != c.want {
				t.Errorf("serves = %t, want %t", got, c.want)
			}
		})
	}
}

func TestAReportAsFacts(t *testing.T) {
	soon, later := time.Now(), time.Now().Add(time.Hour)
	report := &agentapi.Report{
		Active: "a", Mounted: "b", ServerLeaf: &agentapi.Leaf{NotAfter: later}, ClientLeaf: &agentapi.Leaf{NotAfter: soon},
		Problem: &agentapi.Problem{Reason: agentapi.ReloadFailed, Message: "no answer"}, ServerAnchors: []string{"s"}, ClientAnchors: []string{"c"},
		Refused: []agentapi.Refused{{Issuer: "new", Count: 3, Since: soon.Add(-time.Minute)}, {Issuer: "old", Since: soon.Add(-time.Hour), Until: ptr.To(soon.Add(-time.Minute))}},
	}
	want := &rotation.Report{Active: "a", Mounted: "b", ActiveUntil: soon, ProblemReason: "ReloadFailed", ProblemMessage: "no answer",
		Loaded:  rotation.Bundles{Server: []string{"s"}, Client: []string{"c"}},
		Refused: []rotation.Refused{{IssuerKeyID: "new", Count: 3, Served: time.Minute}, {IssuerKeyID: "old", Served: 59 * time.Minute}}}
	if diff := cmp.Diff(want, reportFacts(report, soon)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if reportFacts(nil, soon) != nil {
		t.Error("what is unknown became a fact")
	}
	if facts := reportFacts(&agentapi.Report{}, soon); !facts.ActiveUntil.IsZero() {
		t.Error("an end that is unknown became a fact")
	}
}

func TestAPodWakesItsCluster(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "x", Labels: map[string]string{desired.ClusterLabel: "hippo"}}}
	if diff := cmp.Diff([]ctrl.Request{{NamespacedName: hippo}}, clusterOfPod(t.Context(), pod)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := clusterOfPod(t.Context(), &corev1.Pod{}); len(got) > 0 {
		t.Errorf("a pod of nobody woke %v", got)
	}
}

func TestPartyOfAPod(t *testing.T) {
	for component, want := range map[string]string{
		desired.InstanceComponent: "hippo-a-0-tls", desired.PoolerComponent: "hippo-pgbouncer-tls", desired.TLSComponent: "", "": "",
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
			desired.ClusterLabel: "hippo", desired.ComponentLabel: component, desired.InstanceLabel: "hippo-a-0"}}}
		if got := partyOfPod(pod); got != want {
			t.Errorf("%q: %q, want %q", component, got, want)
		}
	}
}

func TestAnIdentityIsNothingUntilItCanBeUsed(t *testing.T) {
	for name, damage := range map[string]func(s *corev1.Secret){
		"no key":     func(s *corev1.Secret) { delete(s.Data, agentapi.ClientKey) },
		"no anchors": func(s *corev1.Secret) { delete(s.Data, agentapi.ServerBundle) },
		"foreign":    func(s *corev1.Secret) { s.OwnerReferences = nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.reconcile()
			observe := func() *view {
				v, err := h.r.observe(t.Context(), h.cluster())
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			v := observe()
			if got := h.r.identity(v); got == nil || len(got.Anchors) != 1 || got.Revision != v.party("hippo-operator-tls").Material.Revision {
				t.Fatalf("identity = %+v", got)
			}
			h.damage("hippo-operator-tls", damage)
			if h.r.identity(observe()) != nil {
				t.Error("there is an identity")
			}
		})
	}
}
