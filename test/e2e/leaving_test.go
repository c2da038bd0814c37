//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/test/harness"
)

// goneWithin is how long a namespace with 3 instances and 2 poolers may take to go.
const goneWithin = 30 * time.Second

// pgtls is uninstalled in every order, and each ends: nothing of a cluster needs the operator to go.
func leaving(s *story) {
	seconds := map[string]float64{}
	for _, order := range []struct {
		name  string
		leave func(*story, *living)
		here  bool // the operator runs in the cluster's namespace
	}{
		{name: "namespace first, in the middle of a re-key", leave: leaveAmidARekey},
		{name: "operator first", leave: leaveWithoutOperator},
		{name: "CRD first", leave: leaveWithoutCRD},
		{name: "operator and cluster in one namespace", leave: leaveTogether, here: true},
	} {
		c := s.toLeave(order.here)
		order.leave(s, c)
		begun := time.Now()
		s.must(client.IgnoreNotFound(kube.Delete(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Namespace}})))
		s.must(harness.Await(s.Context(), "the namespace to be gone: "+order.name, 3*time.Minute, func(ctx context.Context) string {
			var there corev1.Namespace
			err := kube.Get(ctx, client.ObjectKey{Name: c.Namespace}, &there)
			switch {
			case apierrors.IsNotFound(err):
				return ""
			case err != nil:
				return err.Error()
			}
			return fmt.Sprintf("it is %s: %+v", there.Status.Phase, there.Status.Conditions)
		}))
		took := time.Since(begun)
		seconds[order.name] = took.Round(100 * time.Millisecond).Seconds()
		if took > goneWithin {
			s.Errorf("%s: the namespace was gone after %s, more than %s", order.name, took.Round(time.Second), goneWithin)
		}
		s.must(kube.InstallOperator(s.Context(), images))
		s.must(kube.ScaleOperator(s.Context(), 1))
	}
	s.fact("namespaceSeconds", seconds)
}

// toLeave is a cluster of 3 + 2 that is ready.
func (s *story) toLeave(here bool) *living {
	s.Helper()
	object := s.cluster().WithInstances(3).WithPoolers(2).Build()
	s.must(kube.RemoveNamespace(s.Context(), object.Namespace))
	if here {
		s.moveOperator(object.Namespace)
	}
	cluster, err := harness.Create(s.Context(), kube, object)
	s.must(err)
	s.Cleanup(func() { explainFailure(s.T, cluster) })
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	return &living{Cluster: cluster}
}

func leaveAmidARekey(s *story, c *living) {
	s.annotate(c, rotateAnnotation, "server:leaving")
	s.eventually("the next generation", rekeyLimit, func(ctx context.Context) string {
		if stored, _ := s.generationStored(ctx, c, "server", 2); !stored {
			return "it is not stored"
		}
		return ""
	})
}

func leaveWithoutOperator(s *story, _ *living) {
	s.must(kube.ScaleOperator(s.Context(), 0))
}

func leaveWithoutCRD(s *story, _ *living) {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "postgresclusters.pgtls.dev"}}
	s.must(kube.Delete(s.Context(), crd))
	s.eventually("the CRD to be gone", time.Minute, func(ctx context.Context) string {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(crd), crd.DeepCopy()); !apierrors.IsNotFound(err) {
			return fmt.Sprint("it is there: ", err)
		}
		return ""
	})
}

func leaveTogether(*story, *living) {}

// moveOperator has the operator run in a namespace of its clusters instead of its own.
func (s *story) moveOperator(namespace string) {
	s.Helper()
	s.must(kube.EnsureNamespace(s.Context(), namespace))
	deployment := &appsv1.Deployment{}
	s.must(kube.Get(s.Context(), client.ObjectKey{Namespace: harness.OperatorNamespace, Name: harness.OperatorName}, deployment))
	moved := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deployment.Name, Labels: deployment.Labels}, Spec: *deployment.Spec.DeepCopy()}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "pgtls-story-moved-operator"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: harness.OperatorName},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: harness.OperatorName}},
	}
	s.must(kube.ScaleOperator(s.Context(), 0))
	s.must(client.IgnoreNotFound(kube.Delete(s.Context(), binding.DeepCopy())))
	s.Cleanup(func() { _ = kube.Delete(context.Background(), binding) })
	for _, object := range []client.Object{&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: harness.OperatorName}}, binding, moved} {
		s.must(kube.Create(s.Context(), object))
	}
}
