package tls

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/agentapi"
)

func TestTheKubeletIsToldAgainWithGrowingPauses(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := newNudges()
	due := func() time.Duration { return n.due(hippo, "pod", "r1", now).Sub(now) }
	if got := due(); got != nudgePauseMin {
		t.Errorf("first nudge in %s, want %s", got, nudgePauseMin)
	}
	now = now.Add(nudgePauseMin)
	values := map[string]bool{}
	before := time.Duration(0)
	for range 20 {
		value := n.take("pod", "r1", now)
		if values[value] {
			t.Errorf("value %q again: the kubelet would see no change", value)
		}
		values[value] = true
		pause := due()
		if pause < before || pause > nudgePauseMax {
			t.Errorf("pause %s after %s, want it to grow up to %s", pause, before, nudgePauseMax)
		}
		before = pause
		now = now.Add(pause)
	}
	if before != nudgePauseMax {
		t.Errorf("last pause %s, want %s", before, nudgePauseMax)
	}
}

func TestAnotherRevisionIsWaitedForAnew(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := newNudges()
	n.due(hippo, "pod", "r1", now)
	n.take("pod", "r1", now.Add(time.Second))
	if got := n.due(hippo, "pod", "r2", now.Add(time.Minute)).Sub(now.Add(time.Minute)); got != nudgePauseMin {
		t.Errorf("nudge for the next revision in %s, want %s", got, nudgePauseMin)
	}
}

func TestNudgesAreForgottenWithTheirPods(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	other := types.NamespacedName{Namespace: "zoo", Name: "rhino"}
	n := newNudges()
	n.due(hippo, "gone", "r1", now)
	n.due(hippo, "waiting", "r1", now)
	n.due(other, "another", "r1", now)
	n.keepOnly(hippo, map[types.UID]bool{"waiting": true})
	if _, ok := n.pods["gone"]; ok || len(n.pods) != 2 {
		t.Errorf("kept %v, want waiting and another", n.pods)
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
