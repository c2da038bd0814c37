package tls

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/rotation/plan"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

const day = 24 * time.Hour

func TestALoadBalancersAddressIsTakenInWhenItComes(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	before := h.secret(instanceMaterial)
	var service corev1.Service
	if err := h.client.Get(t.Context(), h.key("hippo-primary"), &service); err != nil {
		t.Fatal(err)
	}
	ingress := func(points ...corev1.LoadBalancerIngress) {
		service.Status.LoadBalancer.Ingress = points
		if err := h.client.Status().Update(t.Context(), &service); err != nil {
			t.Fatal(err)
		}
		h.reconcile()
	}
	ingress(corev1.LoadBalancerIngress{IP: "192.0.2.9", Hostname: "db.example.com"})
	details := h.r.inspectByName(t, h, instanceMaterial).Leaves[0]
	if !slices.Contains(details.IPs, "192.0.2.9") || !slices.Contains(details.DNSNames, "db.example.com") {
		t.Errorf("the leaf covers %v %v", details.IPs, details.DNSNames)
	}
	after := h.secret(instanceMaterial)
	if !cmp.Equal(before.Data[agentapi.ClientCertificate], after.Data[agentapi.ClientCertificate]) {
		t.Error("the client leaf has no names and was issued anew")
	}
	ingress() // a name that is no longer wanted is kept until the next renewal
	if !cmp.Equal(after.Data, h.secret(instanceMaterial).Data) {
		t.Error("an address went, and the leaf was issued anew at once")
	}
}

func TestPausesGrowWhileTheSameIsWaitedFor(t *testing.T) {
	r := newRetries()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := r.after(tlstest.Hippo, "a pod"); got != want*time.Second {
			t.Errorf("pause %s, want %d s", got, want)
		}
	}
	if got := r.after(tlstest.Hippo, "another pod"); got != retryMin {
		t.Errorf("waiting for something else, the pause is %s", got)
	}
	if got := r.after(tlstest.Hippo, ""); got != 0 || len(r.waiting) > 0 {
		t.Errorf("waiting for nothing, the pause is %s and %v is kept", got, r.waiting)
	}
}

func TestAWakeInThePastIsAtOnce(t *testing.T) {
	h := newFixture(t)
	blockers := []plan.Blocker{{Party: "x", Reason: reason.NotProven}}
	for name, c := range map[string]struct {
		plan plan.Plan
		want time.Duration
	}{
		"nothing":          {plan.Plan{}, 0},
		"in an hour":       {plan.Plan{Wake: h.now.Add(time.Hour)}, time.Hour},
		"an hour ago":      {plan.Plan{Wake: h.now.Add(-time.Hour)}, time.Millisecond},
		"blocked":          {plan.Plan{Blockers: blockers}, retryMin},
		"blocked, and due": {plan.Plan{Blockers: blockers, Wake: h.now.Add(time.Minute)}, retryMin},
		"due before that":  {plan.Plan{Blockers: blockers, Wake: h.now.Add(time.Second / 2)}, time.Second / 2},
	} {
		h.r.retries = newRetries()
		if got := h.r.pause(t.Context(), &snapshot.Snapshot{Cluster: tlstest.ACluster()}, c.plan); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
