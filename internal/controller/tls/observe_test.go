package tls

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/gather"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/desired"
)

func TestAPodWakesItsCluster(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "x", Labels: map[string]string{desired.ClusterLabel: "hippo"}}}
	if diff := cmp.Diff([]ctrl.Request{{NamespacedName: tlstest.Hippo}}, clusterOfPod(t.Context(), pod)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := clusterOfPod(t.Context(), &corev1.Pod{}); len(got) > 0 {
		t.Errorf("a pod without a cluster woke %v", got)
	}
}

func TestAnIdentityIsNothingUntilItCanBeUsed(t *testing.T) {
	for name, damage := range map[string]func(s *corev1.Secret){
		"no key":     func(s *corev1.Secret) { delete(s.Data, agentapi.ClientKey) },
		"no anchors": func(s *corev1.Secret) { delete(s.Data, agentapi.ServerBundle) },
		"foreign":    func(s *corev1.Secret) { s.OwnerReferences, s.Labels = nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.reconcile()
			observe := func() *snapshot.Snapshot {
				v, err := h.r.gatherer.Gather(t.Context(), h.cluster(), gather.PastCache)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			v := observe()
			if got := v.Identity(); got == nil || len(got.Anchors) != 1 || got.Revision != v.Party("hippo-operator-tls").Material.Revision {
				t.Fatalf("identity = %+v", got)
			}
			h.damage("hippo-operator-tls", damage)
			if observe().Identity() != nil {
				t.Error("there is an identity")
			}
		})
	}
}
