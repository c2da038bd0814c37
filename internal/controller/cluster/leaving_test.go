package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
)

func terminatingZoo() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "zoo", Finalizers: []string{"kubernetes"}, DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}}}
}

func TestNothingIsDoneInANamespaceThatTerminates(t *testing.T) {
	w, z := running(t, dynamic(`{"postgresql":{"parameters":{"max_connections":77}}}`), terminatingZoo())
	w.applier.MayWrite = kube.NewNamespaces(w.client, w.now).MayWrite
	w.outdate("hippo-00-1")
	for range 3 {
		if writes := w.round(); len(writes) != 0 || w.again != 0 {
			t.Fatalf("wrote %v, the next round after %v", writes, w.again)
		}
	}
	if len(z.done) != 0 || len(w.told()) != 0 {
		t.Errorf("did %v", z.done)
	}
}

// Without a role for namespaces the API server's answer has to do: after it nothing more is tried in that round, nor reported.
func TestTheAPIServersWordThatANamespaceTerminatesEndsTheRound(t *testing.T) {
	w := withMaterial(t)
	w.deny = func(string, string, string) error {
		err := apierrors.NewForbidden(corev1.Resource("x"), "x", errors.New("unable to create new content in namespace zoo because it is being terminated"))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
		return err
	}
	writes := w.round()
	if len(writes) > 3 || w.again != 0 || slices.ContainsFunc(writes, func(s string) bool { return strings.HasPrefix(s, "apply status") }) {
		t.Errorf("wrote %v, the next round after %v", writes, w.again)
	}
}

func TestNothingIsDoneForAClusterThatIsBeingDeleted(t *testing.T) {
	going := func(c *v1beta1.PostgresCluster) {
		c.Finalizers, c.DeletionTimestamp = []string{"foregroundDeletion"}, &metav1.Time{Time: time.Unix(1, 0)}
	}
	w, z := running(t, going)
	w.outdate("hippo-00-1")
	if writes := w.round(); len(writes) != 0 || w.again != 0 || len(z.done) != 0 {
		t.Errorf("wrote %v, did %v, the next round after %v", writes, z.done, w.again)
	}
}

// A finalizer of this controller would hold a namespace whose operator is gone.
func TestNothingOfThisControllerHasAFinalizer(t *testing.T) {
	w := withMaterial(t)
	w.round()
	w.round()
	for object := range everything() {
		if finalizers := w.live(object).GetFinalizers(); len(finalizers) != 0 {
			t.Errorf("%s has %v", object, finalizers)
		}
	}
}
