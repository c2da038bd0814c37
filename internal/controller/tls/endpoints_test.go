package tls

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/probe"
)

const podHost = "hippo-a-0-0.hippo-pods.zoo.svc"

func TestEachKindOfPodHasItsPorts(t *testing.T) {
	pod := func(component string, ready bool) *corev1.Pod {
		name := map[string]string{desired.InstanceComponent: desired.DatabaseContainer, desired.PoolerComponent: desired.PoolerContainer}[component]
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "hippo-a-0-0", Labels: map[string]string{desired.ComponentLabel: component}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: name, Ready: ready}}},
		}
	}
	cluster := aCluster()
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
			[]evidence.Endpoint{agent, patroni, {Name: "postgres", Port: 5432, Protocol: probe.Postgres, User: "_pgtls"}}, podHost},
		"instance, starting": {pod(desired.InstanceComponent, false), []evidence.Endpoint{agent, patroni}, podHost},
		"pooler": {pod(desired.PoolerComponent, true),
			[]evidence.Endpoint{agent, {Name: "pgbouncer", Port: 6432, Protocol: probe.PGBouncer}}, "hippo-pgbouncer.zoo.svc"},
		"pooler, starting": {pod(desired.PoolerComponent, false), []evidence.Endpoint{agent}, "hippo-pgbouncer.zoo.svc"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := endpointsOf(cluster, c.pod)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			if host := serverName(cluster, c.pod); host != c.host {
				t.Errorf("host = %s, want %s", host, c.host)
			}
			if len(got) == 0 {
				t.Error("a pod without ports would never be proven")
			}
		})
	}
}

func TestARemovedPodLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		runs := map[string]evidence.Run{}
		for name, p := range pods {
			runs[name] = runOf(p.object())
		}
		known := func(name string) bool {
			_, proven := h.r.proofs.Last(runs[name].UID, "agent")
			if reported := h.r.agents.Report(runs[name]) != nil; reported != proven {
				t.Errorf("%s: its report is known: %v, its handshakes: %v", name, reported, proven)
			}
			return proven
		}
		h.delete(pods["hippo-a-2-0"].object())
		h.reconcile()
		for name := range pods {
			if known(name) == (name == "hippo-a-2-0") {
				t.Errorf("after a pod is gone, %s is known: %v", name, known(name))
			}
		}
		h.delete(h.cluster())
		h.reconcile()
		for name := range pods {
			if known(name) {
				t.Errorf("the cluster is gone, and %s is remembered", name)
			}
		}
		if len(h.r.retries.waiting) > 0 {
			t.Error("the cluster is gone, and something is remembered of it")
		}
	})
}
