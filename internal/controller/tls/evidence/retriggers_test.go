package evidence

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
)

func TestTheKubeletIsToldAgainWithGrowingPauses(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := NewRetriggers()
	due := func() time.Duration { return n.Due(tlstest.Hippo, "pod", "r1", now).Sub(now) }
	if got := due(); got != retriggerPauseMin {
		t.Errorf("first retrigger in %s, want %s", got, retriggerPauseMin)
	}
	now = now.Add(retriggerPauseMin)
	values := map[string]bool{}
	before := time.Duration(0)
	for range 20 {
		value := n.Take("pod", "r1", now)
		if values[value] {
			t.Errorf("value %q again: the kubelet would see no change", value)
		}
		values[value] = true
		pause := due()
		if pause < before || pause > retriggerPauseMax {
			t.Errorf("pause %s after %s, want it to grow up to %s", pause, before, retriggerPauseMax)
		}
		before = pause
		now = now.Add(pause)
	}
	if before != retriggerPauseMax {
		t.Errorf("last pause %s, want %s", before, retriggerPauseMax)
	}
}

func TestAnotherRevisionIsWaitedForAnew(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := NewRetriggers()
	n.Due(tlstest.Hippo, "pod", "r1", now)
	n.Take("pod", "r1", now.Add(time.Second))
	if got := n.Due(tlstest.Hippo, "pod", "r2", now.Add(time.Minute)).Sub(now.Add(time.Minute)); got != retriggerPauseMin {
		t.Errorf("retrigger for the next revision in %s, want %s", got, retriggerPauseMin)
	}
}

func TestNudgesAreForgottenWithTheirPods(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	other := types.NamespacedName{Namespace: "zoo", Name: "rhino"}
	n := NewRetriggers()
	n.Due(tlstest.Hippo, "gone", "r1", now)
	n.Due(tlstest.Hippo, "waiting", "r1", now)
	n.Due(other, "another", "r1", now)
	n.KeepOnly(tlstest.Hippo, map[types.UID]bool{"waiting": true})
	if _, ok := n.pods["gone"]; ok || len(n.pods) != 2 {
		t.Errorf("kept %v, want waiting and another", n.pods)
	}
}
