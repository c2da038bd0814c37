package tls

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
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

// What Patroni writes with each of its loops, and what the cluster controller makes for others, wakes no reconciliation.
func TestOnlyWhatIsReadWakes(t *testing.T) {
	labelled := func(labels map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: labels}}
	}
	tls := labelled(map[string]string{desired.ClusterLabel: "hippo", desired.ComponentLabel: desired.TLSComponent})
	bare := labelled(map[string]string{desired.ClusterLabel: "hippo"})
	user := labelled(desired.ComponentLabels("hippo", desired.UserComponent))
	patroni := labelled(map[string]string{desired.ClusterLabel: "hippo", desired.PatroniLabel: "hippo-ha"})
	for name, c := range map[string]struct {
		before, after client.Object
		wakes         bool
	}{
		"material":                  {tls, tls, true},
		"no component":              {bare, bare, true},
		"a user's":                  {user, user, false},
		"Patroni's":                 {patroni, patroni, false},
		"a label was taken away":    {tls, user, true},
		"a label was given":         {user, tls, true},
		"Patroni's without a label": {patroni, bare, true},
	} {
		if got := read().Update(event.UpdateEvent{ObjectOld: c.before, ObjectNew: c.after}); got != c.wakes {
			t.Errorf("%s: wakes %v", name, got)
		}
	}
	config := labelled(desired.ComponentLabels("hippo", desired.InstanceComponent))
	config.Name = desired.ConfigName("hippo")
	if !configured().Create(event.CreateEvent{Object: config}) || configured().Update(event.UpdateEvent{ObjectOld: config, ObjectNew: config}) || configured().Create(event.CreateEvent{Object: tls}) {
		t.Error("other than the first configuration of the instances wakes")
	}
	if read().Create(event.CreateEvent{Object: user}) || read().Delete(event.DeleteEvent{Object: patroni}) || !read().Delete(event.DeleteEvent{Object: tls}) {
		t.Error("what is made or deleted wakes otherwise than what changes")
	}
}

func TestServicesWithAnAddressWake(t *testing.T) {
	named := func(name string) client.Object {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: desired.ClusterLabels("hippo")}}
	}
	for name, wakes := range map[string]bool{
		desired.PrimaryService("hippo"): true, desired.ReplicaService("hippo"): true, desired.PoolerName("hippo"): true, desired.PodService("hippo"): false,
	} {
		if addressed().Create(event.CreateEvent{Object: named(name)}) != wakes {
			t.Errorf("%s: wakes %v", name, !wakes)
		}
	}
}

func TestPatronisAnnotationsWakeNothing(t *testing.T) {
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: "1", Annotations: map[string]string{"status": "1", material.ActivateAnnotation: "r1"}}}
		change(p)
		return p
	}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		wakes  bool
	}{
		"Patroni's state": {func(p *corev1.Pod) { p.Annotations["status"] = "2" }, false},
		"the wish":        {func(p *corev1.Pod) { p.Annotations[material.ActivateAnnotation] = "r2" }, true},
		"no wish":         {func(p *corev1.Pod) { delete(p.Annotations, material.ActivateAnnotation) }, true},
		"the role":        {func(p *corev1.Pod) { p.Labels = map[string]string{"role": "primary"} }, true},
		"the address":     {func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.1" }, true},
		"a deletion":      {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, true},
		"a namesake":      {func(p *corev1.Pod) { p.UID = "another" }, true},
	} {
		after := pod(c.change)
		after.ResourceVersion = "2"
		if got := podChanges().Update(event.UpdateEvent{ObjectOld: pod(func(*corev1.Pod) {}), ObjectNew: after}); got != c.wakes {
			t.Errorf("%s: wakes %v", name, got)
		}
	}
}

// An own write that the cache comes to hold is no news, and what another program writes after it is.
func TestOnlyWritesOfOthersAreNews(t *testing.T) {
	writes := kube.NewWrites(time.Now)
	at := func(version string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo-ca", UID: "1", ResourceVersion: version, Labels: desired.ClusterLabels("hippo")}}
	}
	own := at("5")
	noting := writes.Client(answering{}, clusterOf)
	if err := noting.Create(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	passes := seenOfOthers(writes)
	if passes.Create(event.CreateEvent{Object: at("5")}) {
		t.Error("the own write is news")
	}
	if _, lacks := writes.Latest(types.NamespacedName{Namespace: "zoo", Name: "hippo"}, own, nil).(*corev1.ConfigMap); lacks {
		t.Error("the cache is still taken to lack the own write")
	}
	if !passes.Update(event.UpdateEvent{ObjectOld: at("5"), ObjectNew: at("6")}) {
		t.Error("the write of another program is no news")
	}
	if !passes.Delete(event.DeleteEvent{Object: at("6")}) {
		t.Error("a deletion is no news")
	}
}

// answering is a client whose writes succeed.
type answering struct{ client.Client }

func (answering) Create(context.Context, client.Object, ...client.CreateOption) error { return nil }
