package tls

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
)

func TestAWriteOfTheStatusWakesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1beta1.PostgresCluster)
		wakes  bool
	}{
		"status":     {func(c *v1beta1.PostgresCluster) { c.Status.ReadyInstances = "1/1" }, false},
		"spec":       {func(c *v1beta1.PostgresCluster) { c.Generation++ }, true},
		"annotation": {func(c *v1beta1.PostgresCluster) { c.Annotations = map[string]string{"pgtls.dev/taint": "server-g1"} }, true},
		"label":      {func(c *v1beta1.PostgresCluster) { c.Labels = map[string]string{"a": "b"} }, true},
		"deletion":   {func(c *v1beta1.PostgresCluster) { c.DeletionTimestamp = &metav1.Time{Time: metav1.Now().Time} }, true},
		"namesake":   {func(c *v1beta1.PostgresCluster) { c.UID = "another" }, true},
	} {
		before, after := tlstest.ACluster(), tlstest.ACluster()
		after.ResourceVersion = "2"
		c.change(after)
		if got := wished().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.wakes {
			t.Errorf("%s: wakes %v", name, got)
		}
	}
}

func TestOwnWritesOfSecretsWakeNothing(t *testing.T) {
	h := newFixture(t)
	h.reconcile()
	passes := byOthers(&h.r.executor.Written)
	update := func(object client.Object) bool {
		return passes.Update(event.UpdateEvent{ObjectOld: object, ObjectNew: object})
	}
	// The fake API server gives no UIDs: one Secret at a time.
	secret := h.secret(instanceMaterial)
	h.damage(instanceMaterial, func(s *corev1.Secret) { s.Data = nil })
	if !update(h.secret(instanceMaterial)) {
		t.Error("what another program wrote wakes nothing")
	}
	h.reconcile()
	mended := h.secret(instanceMaterial)
	if mended.ResourceVersion == secret.ResourceVersion || update(mended) {
		t.Error("the own write wakes")
	}
	if !passes.Delete(event.DeleteEvent{Object: mended}) || !update(mended) {
		t.Error("what is gone is remembered")
	}
}
