package kube

import (
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		name, live, desired string
		want                bool
	}{
		{"equal", "{a: 1, b: [x]}", "{a: 1, b: [x]}", true},
		{"defaults of the server", "{spec: {type: ClusterIP, clusterIP: 10.0.0.1}}", "{spec: {type: ClusterIP}}", true},
		{"a changed value", "{a: 1}", "{a: 2}", false},
		{"a missing member", "{}", "{a: 1}", false},
		{"another type", "{a: '1'}", "{a: 1}", false},
		{"an atomic list that grew", "{args: [a, b]}", "{args: [a]}", false},
		{"an atomic list in another order", "{args: [b, a]}", "{args: [a, b]}", false},
		{"another's container", "{containers: [{name: mesh}, {name: db, image: x, pull: y}]}", "{containers: [{name: db, image: x}]}", true},
		{"our container changed", "{containers: [{name: db, image: y}]}", "{containers: [{name: db, image: x}]}", false},
		{"our container is gone", "{containers: [{name: mesh}]}", "{containers: [{name: db}]}", false},
		{"another's finalizer", "{finalizers: [theirs, ours]}", "{finalizers: [ours]}", true},
		{"a quantity written otherwise", "{limits: {cpu: '1', memory: 1Gi}}", "{limits: {cpu: 1000m, memory: 1024Mi}}", true},
		{"another quantity", "{limits: {cpu: '2'}}", "{limits: {cpu: 1000m}}", false},
		{"a quantity that is none", "{limits: {cpu: many}}", "{limits: {cpu: '1'}}", false},
		{"a size", "{emptyDir: {sizeLimit: 1Gi}}", "{emptyDir: {sizeLimit: 1024Mi}}", true},
		{"a text that looks like a quantity", "{data: {k: '1'}}", "{data: {k: 1000m}}", false},
		{"an empty selector against none", "{}", "{podSelector: {}}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := covers(object(t, c.live), object(t, c.desired)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func value(depth int) *rapid.Generator[any] {
	scalars := rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 3), func(i int) any { return int64(i) }),
		rapid.Map(rapid.SampledFrom([]string{"", "a", "b", "1", "1000m"}), func(s string) any { return s }),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
	)
	if depth == 0 {
		return scalars
	}
	return rapid.OneOf(scalars,
		rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(v []any) any { return v }),
		rapid.Map(members(depth-1), func(m map[string]any) any { return m }))
}

func members(depth int) *rapid.Generator[map[string]any] {
	keys := rapid.SampledFrom([]string{"a", "b", "containers", "limits", "conditions"})
	return rapid.MapOfN(keys, value(depth), 0, 4)
}

// What is there is covered, and stays so whatever others add beside it.
func TestCoversIsReflexiveAndLetsOthersAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		desired := members(3).Draw(t, "desired")
		if !covers(desired, desired) {
			t.Fatal("an object does not cover itself")
		}
		live := map[string]any{"theirs": value(2).Draw(t, "theirs")}
		for key, member := range desired {
			live[key] = member
		}
		if !covers(live, desired) {
			t.Fatal("another's member made a difference")
		}
		for key := range desired {
			delete(live, key)
			if covers(live, desired) {
				t.Fatalf("the loss of %q was not seen", key)
			}
			break
		}
	})
}
