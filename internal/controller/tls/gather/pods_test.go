package gather

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/probe"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestEachKindOfPodHasItsPorts(t *testing.T) {
	pod := func(component string, ready bool) *corev1.Pod {
		name := map[string]string{desired.InstanceComponent: desired.DatabaseContainer, desired.PoolerComponent: desired.PoolerContainer}[component]
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "hippo-a-0-0", Labels: map[string]string{desired.ComponentLabel: component}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: name, Ready: ready}}},
		}
	}
	cluster := tlstest.ACluster()
	port := int32(6432)
	cluster.Spec.Proxy.PGBouncer.Port = &port
	agent := evidence.Endpoint{Name: "agent", Port: 8443, Protocol: probe.HTTPS}
	patroni := evidence.Endpoint{Name: "patroni", Port: 8008, Protocol: probe.HTTPS}
	cases := map[string]struct {
		pod  *corev1.Pod
		want []evidence.Endpoint
		host string
	}{
		"instance": {pod(desired.InstanceComponent, true),
			[]evidence.Endpoint{agent, patroni, {Name: "postgres", Port: 5432, Protocol: probe.Postgres, User: "_pgtls"}}, tlstest.PodHost},
		"instance, starting": {pod(desired.InstanceComponent, false), []evidence.Endpoint{agent, patroni}, tlstest.PodHost},
		"pooler": {pod(desired.PoolerComponent, true),
			[]evidence.Endpoint{agent, {Name: "pgbouncer", Port: 6432, Protocol: probe.PGBouncer}}, "hippo-pgbouncer.zoo.svc"},
		"pooler, starting": {pod(desired.PoolerComponent, false), []evidence.Endpoint{agent}, "hippo-pgbouncer.zoo.svc"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := endpointsOf(&look{Snapshot: &snapshot.Snapshot{Cluster: cluster}}, party.OfComponent(c.pod.Labels[desired.ComponentLabel]), c.pod)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			if host := snapshot.ServerName(cluster, c.pod); host != c.host {
				t.Errorf("host = %s, want %s", host, c.host)
			}
			if len(got) == 0 {
				t.Error("a pod without ports would never be proven")
			}
		})
	}
}

func TestFilesAndRequestAreDeliveredApart(t *testing.T) {
	for name, c := range map[string]struct {
		report *agentapi.Report
		asked  string
		want   bool
	}{
		"both came":         {&agentapi.Report{Mounted: "r2", Asked: "r2"}, "r2", false},
		"the files alone":   {&agentapi.Report{Mounted: "r2", Asked: "r1"}, "r2", true},
		"the request alone": {&agentapi.Report{Mounted: "r1", Asked: "r2"}, "r2", true},
		"neither":           {&agentapi.Report{Mounted: "r1", Asked: "r1"}, "r2", true},
		"nothing was asked": {&agentapi.Report{Mounted: "r1"}, "", false},
		"nothing is known":  {nil, "r2", false},
	} {
		if got := isUndelivered(c.report, c.asked); got != c.want {
			t.Errorf("%s: undelivered = %v, want %v", name, got, c.want)
		}
	}
}

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
	want := &facts.Report{Active: "a", Mounted: "b", ActiveUntil: soon, ProblemReason: "ReloadFailed", ProblemMessage: "no answer",
		Loaded:  facts.Bundles{Server: []string{"s"}, Client: []string{"c"}},
		Refused: []facts.Refused{{IssuerKeyID: "new", Count: 3, Served: time.Minute}, {IssuerKeyID: "old", Served: 59 * time.Minute}}}
	if diff := cmp.Diff(want, reportFacts(report, soon)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if reportFacts(nil, soon) != nil {
		t.Error("what is unknown became a fact")
	}
	if details := reportFacts(&agentapi.Report{}, soon); !details.ActiveUntil.IsZero() {
		t.Error("an end that is unknown became a fact")
	}
}

func TestPartyOfAPod(t *testing.T) {
	for component, want := range map[string]string{
		desired.InstanceComponent: "hippo-a-0-tls", desired.PoolerComponent: "hippo-pgbouncer-tls", desired.TLSComponent: "", "": "",
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
			desired.ClusterLabel: "hippo", desired.ComponentLabel: component, desired.InstanceLabel: "hippo-a-0"}}}
		if got := wanted.MaterialOf("hippo", pod); got != want {
			t.Errorf("%q: %q, want %q", component, got, want)
		}
	}
}
