package cluster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/internal/desired"
)

func TestWhichObjectsAreOrphans(t *testing.T) {
	ours := []metav1.OwnerReference{desired.OwnerReference(hippo())}
	unowned := func(instance string) *appsv1.StatefulSet {
		s := statefulSet(instance)
		s.OwnerReferences = nil
		return s
	}
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for name, change := range map[string]func(*corev1.PersistentVolumeClaim){
		"hippo-00-1": func(*corev1.PersistentVolumeClaim) {},                                                              // wanted
		"hippo-00-5": func(*corev1.PersistentVolumeClaim) {},                                                              // the orphan
		"hippo-00-6": func(c *corev1.PersistentVolumeClaim) { c.OwnerReferences = ours },                                  // to be removed
		"hippo-00-7": func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, // going
		"hippo-00-8": func(c *corev1.PersistentVolumeClaim) { delete(c.Labels, desired.InstanceLabel) },                   // of no instance
	} {
		claims[name] = claim(name, time.Time{})
		change(claims[name])
	}
	secret := func(name, user string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{desired.UserLabel: user}}}
	}
	seen := facts{
		volumes: claims,
		secrets: map[string]*corev1.Secret{
			"hippo-pguser-hippo": secret("hippo-pguser-hippo", "hippo"), "hippo-pguser-old": secret("hippo-pguser-old", "old"), "hippo-00-9-tls": secret("hippo-00-9-tls", ""),
		},
		pooler: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "hippo-pgbouncer"}},
	}
	sets := map[string]*appsv1.StatefulSet{"hippo-00-0": unowned("hippo-00-0"), "hippo-00-5": unowned("hippo-00-5"), "hippo-00-6": statefulSet("hippo-00-6")}
	want := []string{"Deployment hippo-pgbouncer", "PersistentVolumeClaim hippo-00-5-pgdata", "Secret hippo-pguser-old", "StatefulSet hippo-00-5"}
	if diff := cmp.Diff(want, orphansOf(hippo(), sets, seen)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[1:], orphansOf(hippo(withPooler), sets, seen)); diff != "" {
		t.Errorf("with poolers: %s", diff)
	}
}
