package ha

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/patroni"
)

type tree = map[string]any

func TestKeysThatAreWantedNoMoreAreRemoved(t *testing.T) {
	have := tree{"ttl": 30.0, "synchronous_mode": true, "postgresql": tree{"use_slots": true, "parameters": tree{"work_mem": "8MB", "max_connections": 100.0}}}
	want := tree{"ttl": 20.0, "postgresql": tree{"use_slots": true, "parameters": tree{"max_connections": 100.0}}}
	got := patroni.Difference(have, withRemovals(have, want))
	expected := tree{"ttl": 20.0, "synchronous_mode": nil, "postgresql": tree{"parameters": tree{"work_mem": nil}}}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Error(diff)
	}
}

// merged is what Patroni makes of a PATCH.
func merged(have, patch tree) tree {
	result := tree{}
	for key, value := range have {
		result[key] = value
	}
	for key, value := range patch {
		inner, isObject := value.(tree)
		before, wasObject := result[key].(tree)
		switch {
		case value == nil:
			delete(result, key)
		case isObject && wasObject:
			result[key] = merged(before, inner)
		default:
			result[key] = value
		}
	}
	return result
}

func trees(depth int) *rapid.Generator[tree] {
	scalar := rapid.Map(rapid.IntRange(0, 2), func(i int) any { return float64(i) })
	value := scalar
	if depth > 0 {
		value = rapid.OneOf(scalar, rapid.Map(trees(depth-1), func(m tree) any { return m }))
	}
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), value, 0, 3)
}

func TestAPatchLeadsToTheWholeOfWhatIsWantedAndThenToNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := trees(2).Draw(t, "have"), trees(2).Draw(t, "want")
		after := merged(have, patroni.Difference(have, withRemovals(have, want)))
		if again := patroni.Difference(after, withRemovals(after, want)); len(again) != 0 {
			t.Fatalf("after the patch %v there is another: %v", after, again)
		}
	})
}
