package tlstest

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
)

const PodHost = "hippo-a-0-0.hippo-pods.zoo.svc"

func Duration(text string) *v1beta1.CertificateDuration {
	d := v1beta1.CertificateDuration(text)
	return &d
}

var Hippo = types.NamespacedName{Namespace: "zoo", Name: "hippo"}

func ACluster() *v1beta1.PostgresCluster {
	two, one := int32(2), int32(1)
	return &v1beta1.PostgresCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: Hippo.Namespace, Name: Hippo.Name, UID: "hippo-uid"},
		Spec: v1beta1.PostgresClusterSpec{
			PostgresVersion: 17,
			Instances:       []v1beta1.InstanceSetSpec{{Name: "a", Replicas: &two}},
			Proxy:           &v1beta1.ProxySpec{PGBouncer: &v1beta1.PGBouncerSpec{Replicas: &one}},
		},
	}
}

// SomeServices are those that lead to the parties; the cluster controller makes them.
func SomeServices() []client.Object {
	var services []client.Object
	for i, name := range []string{"hippo-primary", "hippo-replicas", "hippo-pgbouncer"} {
		services = append(services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: Hippo.Namespace, Name: name, Labels: desired.ClusterLabels(Hippo.Name)},
			Spec:       corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.96.0.%d", i+1)},
		})
	}
	return services
}

func SortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Secret is one in the cluster's namespace with nothing but a name.
func Secret(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Hippo.Namespace, Name: name}}
}
