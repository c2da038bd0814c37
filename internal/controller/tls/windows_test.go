package tls

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func window(schedule, length, zone string) v1beta1.MaintenanceWindow {
	return v1beta1.MaintenanceWindow{Schedule: schedule, Duration: v1beta1.CertificateDuration(length), TimeZone: zone}
}

func rotationOf(spec v1beta1.RotationSpec) func(*v1beta1.PostgresCluster) {
	return func(c *v1beta1.PostgresCluster) { c.Spec.TLS = &v1beta1.TLSSpec{Rotation: &spec} }
}

func TestWindowsComeFromTheSpec(t *testing.T) {
	policy := func(spec v1beta1.RotationSpec) facts.Policy {
		cluster := tlstest.ACluster()
		rotationOf(spec)(cluster)
		return wanted.Policy(cluster)
	}
	if p := wanted.Policy(tlstest.ACluster()); p.Windows != nil || p.WindowsInvalid != "" || p.UrgentBefore != 0 {
		t.Errorf("nothing is said of windows, and the policy is %+v", p)
	}
	if p := policy(v1beta1.RotationSpec{Windows: []v1beta1.MaintenanceWindow{}, UrgentBefore: tlstest.Duration("72h")}); p.Windows != nil || p.UrgentBefore != 72*time.Hour {
		t.Errorf("no window means any time, and the policy is %+v", p)
	}
	p := policy(v1beta1.RotationSpec{Windows: []v1beta1.MaintenanceWindow{window("0 2 * * 6", "4h", "Europe/Berlin"), window("30 2 * * 6", "30m", "")}})
	friday := time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC)
	opens := p.Windows.Opening(friday)
	if want := "2026-03-07T02:00:00+01:00"; opens.Format(time.RFC3339) != want || !p.Windows.Closing(opens).Equal(opens.Add(4*time.Hour)) {
		t.Errorf("opens at %s, want %s, and closes at %s", opens.Format(time.RFC3339), want, p.Windows.Closing(opens))
	}
	for want, wrong := range map[string]v1beta1.MaintenanceWindow{
		`spec.tls.rotation.windows[1].timeZone: "Europe/Berln" is no time zone`: window("0 2 * * 6", "4h", "Europe/Berln"),
		`spec.tls.rotation.windows[1].schedule: "61 2 * * 6" is no time: `:      window("61 2 * * 6", "4h", ""),
	} {
		p := policy(v1beta1.RotationSpec{Windows: []v1beta1.MaintenanceWindow{window("0 2 * * 6", "4h", ""), wrong}})
		if p.Windows != nil || !strings.HasPrefix(p.WindowsInvalid, want) || strings.Contains(p.WindowsInvalid, "\n") {
			t.Errorf("got %v and %q, want %s", p.Windows, p.WindowsInvalid, want)
		}
	}
}

// serials of the client leaves by Secret.
func (h *fixture) serials() map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, name := range materials {
		for _, leaf := range h.r.inspectByName(h.t, h, name).Leaves {
			if leaf.Domain == facts.Client {
				out[name] = leaf.Serial
			}
		}
	}
	return out
}

// The client leaves are due on 21 March, a Saturday, after the window has closed. They are renewed in the next one, to the second.
func TestARenewalWaitsForItsWindow(t *testing.T) {
	h := newFixture(t)
	h.change(rotationOf(v1beta1.RotationSpec{Windows: []v1beta1.MaintenanceWindow{window("0 2 * * 6", "4h", "Europe/Berlin")}}))
	h.reconcile()
	before := h.serials()
	h.pass(20 * day)
	h.events()
	opens := time.Date(2026, 3, 28, 1, 0, 0, 0, time.UTC)

	result, _ := h.reconcile()
	if wait := opens.Sub(h.clock()); result.RequeueAfter != wait {
		t.Errorf("looks again after %s, want %s", result.RequeueAfter, wait)
	}
	status := h.cluster().Status
	want := v1beta1.BlockerStatus{Party: "hippo-operator-tls", Reason: "AwaitingWindow", Message: "waiting for the next window, which opens at 2026-03-28T01:00:00Z (Sat 02:00 CET): " +
		"client leaf of hippo-operator-tls (Due), client leaf of hippo-a-0-tls (Due), client leaf of hippo-a-1-tls (Due), client leaf of hippo-pgbouncer-tls (Due)"}
	if diff := cmp.Diff([]v1beta1.BlockerStatus{want}, status.TLS.Blockers); diff != "" {
		t.Errorf("blockers (-want +got):\n%s", diff)
	}
	if status.TLS.State != "NotServing" {
		t.Errorf("state %s: a wait as planned is no trouble", status.TLS.State)
	}
	if events := h.events(); slices.ContainsFunc(events, func(e string) bool { return strings.Contains(e, "Warning") }) {
		t.Errorf("a wait as planned is no warning: %q", events)
	}
	if _, writes := h.reconcile(); len(writes) > 0 {
		t.Errorf("while waiting there were writes: %v", writes)
	}
	if diff := cmp.Diff(before, h.serials()); diff != "" {
		t.Errorf("issued outside of the window:\n%s", diff)
	}
	h.restart() // what waits is not remembered but observed
	h.pass(opens.Sub(h.clock()))
	h.reconcile()
	for name, serial := range h.serials() {
		if serial == before[name] {
			t.Errorf("%s was not renewed when the window opened", name)
		}
	}
	if blockers := h.cluster().Status.TLS.Blockers; len(blockers) > 0 {
		t.Errorf("still blocked: %+v", blockers)
	}
}

// Unparsable windows stop what is planned, say so, and stop nothing else.
func TestWindowsThatCannotBeUnderstood(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	before := h.serials()
	h.change(rotationOf(v1beta1.RotationSpec{Windows: []v1beta1.MaintenanceWindow{window("0 2 * * 6", "4h", "Europe/Berln")}}))
	h.pass(20 * day)
	h.damage(instanceMaterial, func(s *corev1.Secret) { s.Data[agentapi.ServerCertificate] = []byte("nonsense") })
	h.reconcile()
	if diff := cmp.Diff(before, h.serials()); diff != "" {
		t.Errorf("issued although it is not known whether a window is open:\n%s", diff)
	}
	if m := h.r.inspectByName(t, h, instanceMaterial); m.Leaves[0].Problem != "" {
		t.Errorf("damage was not repaired: %s", m.Leaves[0].Problem)
	}
	status := h.cluster().Status
	condition := status.Conditions[0]
	const says = `spec.tls.rotation.windows[0].timeZone: "Europe/Berln" is no time zone; write a name of the IANA list such as Europe/Berlin or UTC; until then nothing planned begins`
	if condition.Status != "False" || condition.Reason != "PolicyInvalid" || condition.Message != says {
		t.Errorf("TLSReady is %+v", condition)
	}
	h.change(rotationOf(v1beta1.RotationSpec{}))
	h.reconcile()
	if cmp.Equal(before, h.serials()) {
		t.Error("the windows are gone, and nothing was renewed")
	}
}
