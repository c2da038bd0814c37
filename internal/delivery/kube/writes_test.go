package kube

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

var zebra = types.NamespacedName{Namespace: "zoo", Name: "zebra"}

func versioned(name, version, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: zebra.Namespace, Name: name, UID: types.UID(name), ResourceVersion: version},
		Data:       map[string][]byte{"value": []byte(value)},
	}
}

// overlaid returns the values of the Secrets that a reader sees, by name.
func overlaid(w *Writes, cached ...client.Object) map[string]string {
	out := map[string]string{}
	for _, object := range w.Overlay(zebra, &corev1.Secret{}, cached) {
		out[object.GetName()] = string(object.(*corev1.Secret).Data["value"])
	}
	return out
}

func TestAReaderSeesItsOwnWritesWhateverTheCacheHolds(t *testing.T) {
	now := time.Now()
	begin := func() *Writes { return NewWrites(func() time.Time { return now }) }
	made := versioned("a", "10", "mine")
	for name, c := range map[string]struct {
		write  func(*Writes)
		cached []client.Object
		want   string // value of a; "" for none
	}{
		"made, and not there yet":    {func(w *Writes) { w.note(zebra, made, false, nil) }, nil, "mine"},
		"changed, and still the old": {func(w *Writes) { w.note(zebra, made, false, nil) }, []client.Object{versioned("a", "9", "old")}, "mine"},
		"compared as numbers":        {func(w *Writes) { w.note(zebra, versioned("a", "100", "mine"), false, nil) }, []client.Object{versioned("a", "99", "old")}, "mine"},
		"seen":                       {func(w *Writes) { w.note(zebra, made, false, nil) }, []client.Object{versioned("a", "10", "cached")}, "cached"},
		"outdated":                   {func(w *Writes) { w.note(zebra, made, false, nil) }, []client.Object{versioned("a", "11", "theirs")}, "theirs"},
		"deleted, and still there":   {func(w *Writes) { w.note(zebra, versioned("a", "9", "old"), true, nil) }, []client.Object{versioned("a", "9", "old")}, ""},
		"refused": {func(w *Writes) {
			w.note(zebra, made, false, errAlreadyExists())
		}, nil, ""},
		"made, and deleted by others since": {func(w *Writes) {
			w.note(zebra, made, false, nil)
			w.Seen(zebra, versioned("a", "12", "mine"), true)
		}, nil, ""},
	} {
		w := begin()
		c.write(w)
		if got := overlaid(w, c.cached...)["a"]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if w.Doubtful(zebra) {
			t.Errorf("%s: doubtful", name)
		}
	}
}

func errAlreadyExists() error {
	c := fake.NewClientBuilder().WithObjects(versioned("a", "1", "")).Build()
	return c.Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: zebra.Namespace, Name: "a"}})
}

func TestWhatMayHaveBeenWrittenPutsTheCacheInDoubt(t *testing.T) {
	now := time.Now()
	w := NewWrites(func() time.Time { return now })
	w.note(zebra, versioned("a", "10", "mine"), false, context.DeadlineExceeded)
	if !w.Doubtful(zebra) {
		t.Error("a write without an answer is taken for none")
	}
	w.Settle(zebra, versioned("a", "10", "mine"))
	if w.Doubtful(zebra) || overlaid(w)["a"] != "mine" {
		t.Errorf("after a look past the cache: doubtful %v, seen %v", w.Doubtful(zebra), overlaid(w))
	}
	w.note(zebra, versioned("b", "no number", ""), false, nil)
	if !w.Doubtful(zebra) {
		t.Error("a version that is no number is compared")
	}
}

func TestAWriteThatTheCacheLacksForLongIsLookedAt(t *testing.T) {
	now := time.Now()
	w := NewWrites(func() time.Time { return now })
	w.note(zebra, versioned("a", "10", "mine"), false, nil)
	now = now.Add(CacheLag + time.Second)
	overlaid(w)
	if !w.Doubtful(zebra) {
		t.Error("it may have been deleted since, and the operator would believe in it for ever")
	}
	w.Settle(zebra) // it is not there
	if got := overlaid(w); len(got) > 0 || w.Doubtful(zebra) {
		t.Errorf("after a look past the cache: %v", got)
	}
}

func TestEachKindOfWriteIsNoted(t *testing.T) {
	at := time.Now()
	w := NewWrites(func() time.Time { return at })
	base := fake.NewClientBuilder().Build()
	c := w.Client(base, func(client.Object) (types.NamespacedName, bool) { return zebra, true })
	ctx := t.Context()
	secret := versioned("a", "", "1")
	for _, step := range []struct {
		what string
		do   func() error
		want string
	}{
		{"create", func() error { return c.Create(ctx, secret) }, "1"},
		{"update", func() error { secret.Data["value"] = []byte("2"); return c.Update(ctx, secret) }, "2"},
		{"patch", func() error {
			before := secret.DeepCopy()
			secret.Data["value"] = []byte("3")
			return c.Patch(ctx, secret, client.MergeFrom(before))
		}, "3"},
		{"delete", func() error { return c.Delete(ctx, secret) }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := overlaid(w)["a"]; got != step.want {
			t.Errorf("after %s a reader sees %q, want %q", step.what, got, step.want)
		}
	}
}

func TestLagsUntilTheCacheHasTheWrite(t *testing.T) {
	at := time.Now()
	w := NewWrites(func() time.Time { return at })
	behind := true
	cache := interceptor.NewClient(fake.NewClientBuilder().WithObjects(versioned("a", "10", "mine")).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if behind {
				key.Name = "none"
			}
			return c.Get(ctx, key, object, options...)
		},
	})
	w.note(zebra, versioned("a", "10", "mine"), false, nil)
	if !w.Lags(t.Context(), zebra, cache) {
		t.Error("the cache has nothing, and does not lag")
	}
	behind = false
	if w.Lags(t.Context(), zebra, cache) || len(w.clusters) > 0 {
		t.Error("the cache has it, and it is still remembered")
	}
}
