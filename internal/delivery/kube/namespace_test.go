package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// A namespace as the API server has it while it is being deleted; the fake needs a finalizer for that.
func namespace(terminating bool) *corev1.Namespace {
	zoo := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "zoo", Finalizers: []string{"kubernetes"}}}
	if terminating {
		zoo.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	}
	return zoo
}

func TestNothingIsWrittenToANamespaceThatTerminates(t *testing.T) {
	for name, c := range map[string]struct {
		namespace []client.Object
		want      bool
	}{
		"it stays":   {[]client.Object{namespace(false)}, true},
		"it goes":    {[]client.Object{namespace(true)}, false},
		"it is gone": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: withUID(metav1.ObjectMeta{Namespace: "zoo", Name: "p"}, "u1")}
			orphan := configMap("orphan", nil)
			orphan.OwnerReferences = nil
			w := newWorld(t, append(c.namespace, pod, orphan, configMap("old", nil), hippo())...)
			w.applier.MayWrite = NewNamespaces(w.client, time.Now).MayWrite
			cluster := hippo()
			w.get(t, cluster)
			cluster.Status.ReadyInstances = "0/2"
			_, applied := w.applier.Apply(t.Context(), configMap("a", nil))
			_, recovered := w.applier.Apply(t.Context(), configMap("orphan", nil))
			_, patched := w.applier.PatchAnnotation(t.Context(), pod, "k", "v")
			deleted := w.applier.Delete(t.Context(), configMap("old", nil))
			_, told := w.applier.ApplyStatus(t.Context(), cluster, cluster.Status)
			for act, err := range map[string]error{"apply": applied, "take back": recovered, "patch": patched, "delete": deleted, "status": told} {
				if c.want && CauseOf(err) == NamespaceTerminating || !c.want && !errors.Is(err, ErrNamespaceTerminating) && act != "status" {
					t.Errorf("%s: %v", act, err)
				}
			}
			if !c.want && len(w.writes) != 0 {
				t.Errorf("wrote %v", w.writes)
			}
		})
	}
}

func TestANamespaceIsReadOnceInASecond(t *testing.T) {
	reads, now := 0, time.Unix(100, 0)
	w := newWorld(t, namespace(false))
	counting := interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
		reads++
		return c.Get(ctx, key, obj, opts...)
	}})
	namespaces := NewNamespaces(counting, func() time.Time { return now })
	for range 5 {
		if err := namespaces.MayWrite(t.Context(), "zoo"); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(2 * time.Second)
	if err := namespaces.MayWrite(t.Context(), "zoo"); err != nil || reads != 2 {
		t.Errorf("%d reads, %v", reads, err)
	}
}

// An operator that serves a few namespaces may have no role for the kind.
func TestARoleWithoutNamespacesStopsNoWrite(t *testing.T) {
	w := newWorld(t)
	denied := interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return apierrors.NewForbidden(corev1.Resource("namespaces"), "zoo", errors.New("no"))
	}})
	if err := NewNamespaces(denied, time.Now).MayWrite(t.Context(), "zoo"); err != nil {
		t.Error(err)
	}
}
