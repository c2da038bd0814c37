package decide

import (
	"maps"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestRestartsAreRememberedForOneGenerationOfOneCluster(t *testing.T) {
	hippo := types.NamespacedName{Namespace: "zoo", Name: "hippo"}
	memory := NewRestarts()
	names := func(uid types.UID, generation int64) []string {
		return slices.Sorted(maps.Keys(memory.Of(hippo, uid, generation)))
	}
	memory.Note(hippo, "u1", 1, "a-1", false)
	memory.Note(hippo, "u1", 1, "a-2", false)
	if got := names("u1", 1); !slices.Equal(got, []string{"a-1", "a-2"}) {
		t.Errorf("remembered %v", got)
	}
	if got := names("u1", 2); len(got) != 0 {
		t.Errorf("of the next generation: %v", got)
	}
	if got := names("u2", 1); len(got) != 0 {
		t.Errorf("of a namesake: %v", got)
	}
	memory.Note(hippo, "u1", 1, "a-0", true)
	if got := names("u1", 1); !slices.Equal(got, []string{"a-0"}) {
		t.Errorf("after the primary's restart: %v", got)
	}
	memory.Forget(hippo)
	if got := names("u1", 1); len(got) != 0 {
		t.Errorf("after forgetting: %v", got)
	}
}
