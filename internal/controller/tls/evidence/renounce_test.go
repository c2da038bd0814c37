package evidence

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// A revision can come back: what was seen of it before an activation proves nothing, of that pod alone.
func TestAnActivationRenouncesWhatWasSeenBefore(t *testing.T) {
	p := NewProofs(nil)
	for _, uid := range []types.UID{"a", "b"} {
		p.seen[proofKey{uid, "postgres"}] = Proof{Revision: "r1"}
	}
	p.Renounce("a")
	if p.Saw("a", "r1") || !p.Saw("b", "r1") {
		t.Errorf("pod a counts as seen: %t, pod b: %t", p.Saw("a", "r1"), p.Saw("b", "r1"))
	}
}
