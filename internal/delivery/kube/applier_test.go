package kube

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestApplyMakesThenRestsThenChanges(t *testing.T) {
	w := newWorld(t)
	if !w.apply(t, configMap("a", map[string]string{"k": "1"})) {
		t.Error("nothing was made")
	}
	if w.apply(t, configMap("a", map[string]string{"k": "1"})) || len(w.writes) != 1 {
		t.Errorf("at rest: %v", w.writes)
	}
	if !w.apply(t, configMap("a", map[string]string{"k": "2"})) {
		t.Error("a changed value was not applied")
	}
	live := configMap("a", nil)
	w.get(t, live)
	if live.Data["k"] != "2" {
		t.Errorf("live: %v", live.Data)
	}
}

func TestAFieldThatIsDesiredNoMoreGoes(t *testing.T) {
	w := newWorld(t)
	w.apply(t, configMap("a", map[string]string{"k": "1", "old": "x"}))
	if !w.apply(t, configMap("a", map[string]string{"k": "1"})) {
		t.Fatal("the removal was not noticed")
	}
	live := configMap("a", nil)
	w.get(t, live)
	if diff := cmp.Diff(map[string]string{"k": "1"}, live.Data); diff != "" {
		t.Error(diff)
	}
}

func TestDriftIsPutRightAndFieldsOfOthersStay(t *testing.T) {
	w := newWorld(t)
	w.apply(t, configMap("a", map[string]string{"k": "1"}))
	live := configMap("a", nil)
	w.get(t, live)
	live.Data = map[string]string{"k": "by hand", "theirs": "x"}
	if err := w.client.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if !w.apply(t, configMap("a", map[string]string{"k": "1"})) {
		t.Fatal("the drift was not noticed")
	}
	w.get(t, live)
	if diff := cmp.Diff(map[string]string{"k": "1", "theirs": "x"}, live.Data); diff != "" {
		t.Error(diff)
	}
	if w.apply(t, configMap("a", map[string]string{"k": "1"})) {
		t.Error("a field of another made a write")
	}
}

// blind is a client whose cache knows nothing: it holds only what bears the label.
type blind struct {
	client.Client
	cache client.Reader
}

func (b blind) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return b.cache.Get(ctx, key, obj, opts...)
}

func TestAStrangerOutsideTheCacheIsSeen(t *testing.T) {
	theirs := configMap("a", map[string]string{"k": "theirs"})
	theirs.OwnerReferences = nil
	server := newWorld(t, theirs)
	applier := &Applier{Client: blind{server.client, newWorld(t).client}, Live: server.client, Owner: "tester"}
	if _, err := applier.Apply(t.Context(), configMap("a", nil)); err == nil {
		t.Fatal("applied")
	} else if _, ok := AsOwnership(err); !ok {
		t.Errorf("got %v", err)
	}
	live := configMap("a", nil)
	server.get(t, live)
	if live.Data["k"] != "theirs" || len(live.OwnerReferences) > 0 {
		t.Errorf("written: %v, %v", live, server.writes)
	}
}

// What the cluster owns and the cache does not know yet is written as well, and not made twice.
func TestOneOfOursThatTheCacheDoesNotKnowYetIsWritten(t *testing.T) {
	server := newWorld(t, configMap("a", map[string]string{"k": "1"}))
	applier := &Applier{Client: blind{server.client, newWorld(t).client}, Live: server.client, Owner: "tester"}
	outcome, err := applier.Apply(t.Context(), configMap("a", map[string]string{"k": "2"}))
	live := configMap("a", nil)
	server.get(t, live)
	if err != nil || outcome != Written || live.Data["k"] != "2" {
		t.Errorf("%s, %v: %v", outcome, err, live.Data)
	}
}

// An object is made by one request, and nothing is asked before.
func TestAnObjectIsMadeByOneRequest(t *testing.T) {
	w := newWorld(t)
	w.apply(t, configMap("a", map[string]string{"k": "1"}))
	if diff := cmp.Diff([]string{"create *v1.ConfigMap"}, w.writes); diff != "" {
		t.Error(diff)
	}
}

func TestAnObjectWithoutControllerIsRefused(t *testing.T) {
	w := newWorld(t)
	object := configMap("a", nil)
	object.OwnerReferences = nil
	if _, err := w.applier.Apply(t.Context(), object); err == nil || len(w.writes) != 0 {
		t.Errorf("got %v, wrote %v", err, w.writes)
	}
}

func TestTheGivenObjectStaysAsItIs(t *testing.T) {
	w := newWorld(t)
	object := configMap("a", map[string]string{"k": "1"})
	before := object.DeepCopy()
	w.apply(t, object)
	if diff := cmp.Diff(before, object); diff != "" {
		t.Error(diff)
	}
}

func TestDeleteTakesOnlyWhatWasLookedAt(t *testing.T) {
	w := newWorld(t, configMap("a", map[string]string{"k": "1"}))
	seen := configMap("a", nil)
	w.get(t, seen)
	changed := seen.DeepCopy()
	changed.Data = map[string]string{"k": "2"}
	if err := w.client.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := w.applier.Delete(t.Context(), seen); !apierrors.IsConflict(err) {
		t.Fatalf("a later version: got %v", err)
	}
	w.get(t, seen)
	if err := w.applier.Delete(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	if err := w.applier.Delete(t.Context(), seen); err != nil {
		t.Errorf("one that is gone: got %v", err)
	}
}

func TestPodAnnotationIsOnePatchAndNoneAtRest(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: withUID(metav1.ObjectMeta{Namespace: "zoo", Name: "p", Annotations: map[string]string{"other": "stays"}}, "u1")}
	w := newWorld(t, pod)
	for i, want := range []bool{true, false} {
		w.get(t, pod)
		changed, err := w.applier.PatchAnnotation(t.Context(), pod, "pgtls.dev/activate", "r1")
		if err != nil || changed != want {
			t.Errorf("call %d: changed %v, %v", i, changed, err)
		}
	}
	w.get(t, pod)
	want := map[string]string{"other": "stays", "pgtls.dev/activate": "r1"}
	if diff := cmp.Diff(want, pod.Annotations); diff != "" {
		t.Error(diff)
	}
	if len(w.writes) != 1 {
		t.Errorf("writes: %v", w.writes)
	}
}

// An annotation that was patched belongs to no apply: one that changes the object leaves it, and at rest nothing is written for it.
func TestAPatchedAnnotationOutlivesApplies(t *testing.T) {
	w := newWorld(t)
	if _, err := w.applier.Apply(t.Context(), configMap("c", map[string]string{"k": "1"})); err != nil {
		t.Fatal(err)
	}
	live := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "c"}}
	w.get(t, live)
	if _, err := w.applier.PatchAnnotation(t.Context(), live, "pgtls.dev/prompted", "noon"); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2", "2"} {
		if _, err := w.applier.Apply(t.Context(), configMap("c", map[string]string{"k": value})); err != nil {
			t.Fatal(err)
		}
		w.get(t, live)
		if live.Annotations["pgtls.dev/prompted"] != "noon" || live.Data["k"] != value {
			t.Errorf("with %s: %v %v", value, live.Annotations, live.Data)
		}
	}
	if want := 4; len(w.writes) != want {
		t.Errorf("writes: %v, want %d", w.writes, want)
	}
}
