package kube

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"pgtls.dev/pgtls/api/v1beta1"
)

// A world is a fake API server that counts what is written to it.
type world struct {
	client  client.Client
	applier *Applier
	writes  []string
	fails   error // what an apply comes to; nil: it is done
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1beta1.PostgresCluster{}).
		WithReturnManagedFields().
		WithInterceptorFuncs(w.counting()).Build()
	w.applier = &Applier{Client: w.client, Owner: "tester", ClusterLabel: clusterLabel}
	return w
}

func (w *world) counting() interceptor.Funcs {
	note := func(verb string, what any) { w.writes = append(w.writes, fmt.Sprintf("%s %T", verb, what)) }
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			note("create", obj)
			if w.fails != nil {
				return w.fails
			}
			return c.Create(ctx, obj, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			note("apply", obj)
			if w.fails != nil {
				return w.fails
			}
			return c.Apply(ctx, obj, opts...)
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			note("apply "+sub, obj)
			return c.SubResource(sub).Apply(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			note("patch", obj)
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			note("delete", obj)
			return c.Delete(ctx, obj, opts...)
		},
	}
}

var owner = metav1.OwnerReference{APIVersion: "pgtls.dev/v1beta1", Kind: "PostgresCluster", Name: "hippo", UID: "uid-of-hippo", Controller: new(true)}

const clusterLabel = "pgtls.dev/cluster"

func owned(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "zoo", Name: name, Labels: map[string]string{clusterLabel: "hippo"}, OwnerReferences: []metav1.OwnerReference{owner}}
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: owned(name), Data: data}
}

func (w *world) apply(t *testing.T, obj client.Object) bool {
	t.Helper()
	outcome, err := w.applier.Apply(t.Context(), obj)
	if err != nil {
		t.Fatal(err)
	}
	return outcome != InForce
}

func (w *world) get(t *testing.T, obj client.Object) {
	t.Helper()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatal(err)
	}
}

func withUID(meta metav1.ObjectMeta, uid types.UID) metav1.ObjectMeta {
	meta.UID = uid
	return meta
}
