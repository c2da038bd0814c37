package tls

import (
	"testing"

	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
)

func TestARemovedPodLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, pods := hippos(t)
		runs := map[string]evidence.Run{}
		for name, p := range pods {
			runs[name] = snapshot.RunOf(p.object())
		}
		known := func(name string) bool {
			_, proven := h.r.gatherer.Proofs.Last(runs[name].UID, "agent")
			if reported := h.r.gatherer.Agents.Report(runs[name]) != nil; reported != proven {
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
