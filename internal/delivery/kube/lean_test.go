package kube_test

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/internal/delivery/kube"
)

// spelled makes each text anew, as a decoder does.
func spelled(text string) string { return fmt.Sprint(text, "") }

func described(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: spelled("zoo"), Name: name, Labels: map[string]string{spelled("pgtls.dev/cluster"): spelled("hippo")},
		Annotations:     map[string]string{spelled("pgtls.dev/applied"): "12"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: spelled("pgtls.dev/v1beta1"), Kind: spelled("PostgresCluster"), Name: spelled("hippo"), UID: "1", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false)}},
	}
}

func fleetSecret(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: described(name), Data: map[string][]byte{
		"ca.crt":   []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"tls.key":  []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"both.pem": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN PRIVATE KEY-----\nAAAA\n"),
		"password": []byte("secret"),
	}}
}

func fleetStatefulSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: described("a"), Spec: appsv1.StatefulSetSpec{Template: corev1.PodTemplateSpec{
		ObjectMeta: described(""), Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: spelled("tls")}},
			Containers: []corev1.Container{{
				Name: spelled("database"), Image: spelled("postgres"), Args: []string{spelled("--kind=instance")}, Command: []string{spelled("run")},
				Env: []corev1.EnvVar{{Name: spelled("A"), Value: spelled("B")}}, VolumeMounts: []corev1.VolumeMount{{Name: spelled("tls"), MountPath: spelled("/etc/tls")}},
				Ports: []corev1.ContainerPort{{Name: spelled("postgres")}},
			}},
		},
	}}}
}

func TestALeanObjectIsTheSameWithoutTheRecordOfItsFields(t *testing.T) {
	lean := kube.Lean()
	for name, c := range map[string]struct{ object, want metav1.Object }{
		"Secret":      {fleetSecret("a"), fleetSecret("a")},
		"StatefulSet": {fleetStatefulSet(), fleetStatefulSet()},
		"Deployment":  {&appsv1.Deployment{ObjectMeta: described("a"), Spec: appsv1.DeploymentSpec{Template: fleetStatefulSet().Spec.Template}}, &appsv1.Deployment{ObjectMeta: described("a"), Spec: appsv1.DeploymentSpec{Template: fleetStatefulSet().Spec.Template}}},
		"bare":        {&corev1.Service{}, &corev1.Service{}},
	} {
		c.object.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "a"}})
		for range 2 { // the second time from what is shared
			got, err := lean(c.object)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// Two Secrets share their bundle and the texts of their metadata; a key is never remembered for another Secret.
func TestLeanObjectsShareWhatIsPublic(t *testing.T) {
	lean := kube.Lean()
	a, b := fleetSecret("a"), fleetSecret("b")
	for _, secret := range []*corev1.Secret{a, b} {
		if _, err := lean(secret); err != nil {
			t.Fatal(err)
		}
	}
	same := func(x, y string) bool { return unsafe.StringData(x) == unsafe.StringData(y) }
	if !same(a.Namespace, b.Namespace) || !same(a.OwnerReferences[0].Name, b.OwnerReferences[0].Name) || !same(a.Labels["pgtls.dev/cluster"], b.Labels["pgtls.dev/cluster"]) {
		t.Error("texts of the metadata are not shared")
	}
	for key, want := range map[string]bool{"ca.crt": true, "tls.key": false, "both.pem": false, "password": false} {
		if got := &a.Data[key][0] == &b.Data[key][0]; got != want {
			t.Errorf("%s is shared: %v", key, got)
		}
	}
}

// Containers are shared by pod templates in which they are equal, and by no others.
func TestLeanPodTemplatesShareEqualContainers(t *testing.T) {
	lean := kube.Lean()
	a, b, other := fleetStatefulSet(), fleetStatefulSet(), fleetStatefulSet()
	other.Spec.Template.Spec.Containers[0].Image = "another"
	for _, statefulSet := range []*appsv1.StatefulSet{a, b, other} {
		if _, err := lean(statefulSet); err != nil {
			t.Fatal(err)
		}
	}
	first := func(s *appsv1.StatefulSet) *corev1.Container { return &s.Spec.Template.Spec.Containers[0] }
	if first(a) != first(b) || first(a) == first(other) || first(other).Image != "another" || first(b).Image != "postgres" {
		t.Errorf("%v, %v, %v", first(a), first(b), first(other))
	}
}

// No matter how many objects come by, what is remembered of them is bounded, and each stays as it is.
func TestWhatIsSharedIsBounded(t *testing.T) {
	lean := kube.Lean()
	for i := range 40000 {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"name": fmt.Sprint(i)}}}
		if _, err := lean(secret); err != nil || secret.Labels["name"] != fmt.Sprint(i) {
			t.Fatalf("%d became %v, %v", i, secret.Labels, err)
		}
	}
}
