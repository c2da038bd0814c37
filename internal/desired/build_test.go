package desired

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Builders of specs.

func hippo(change ...func(*v1beta1.PostgresCluster)) *v1beta1.PostgresCluster {
	cluster := &v1beta1.PostgresCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: "hippo", UID: "6a1f"},
		Spec: v1beta1.PostgresClusterSpec{
			PostgresVersion: 17,
			Instances:       []v1beta1.InstanceSetSpec{set("00", 1)},
		},
	}
	for _, c := range change {
		c(cluster)
	}
	return cluster
}

func set(name string, replicas int32) v1beta1.InstanceSetSpec {
	return v1beta1.InstanceSetSpec{
		Name: name, Replicas: ptr.To(replicas),
		DataVolumeClaimSpec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func withPooler(cluster *v1beta1.PostgresCluster) {
	cluster.Spec.Proxy = &v1beta1.ProxySpec{PGBouncer: &v1beta1.PGBouncerSpec{Replicas: ptr.To[int32](2)}}
}

func withDynamic(json string) func(*v1beta1.PostgresCluster) {
	return func(cluster *v1beta1.PostgresCluster) {
		cluster.Spec.Patroni = &v1beta1.PatroniSpec{DynamicConfiguration: &apiextensionsv1.JSON{Raw: []byte(json)}}
	}
}

// everything sets every field of the spec that reaches an object.
func everything(cluster *v1beta1.PostgresCluster) {
	spec := &cluster.Spec
	spec.Image = "registry.example/postgres:17.5"
	spec.ImagePullPolicy = corev1.PullAlways
	spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	spec.Metadata = &v1beta1.Metadata{Labels: map[string]string{"team": "zoo"}, Annotations: map[string]string{"contact": "keeper"}}
	spec.Instances = []v1beta1.InstanceSetSpec{set("00", 2), set("big", 1)}
	spec.Instances[1].Metadata = &v1beta1.Metadata{Labels: map[string]string{"team": "vets"}}
	spec.Instances[1].Resources = corev1.ResourceRequirements{Limits: resources("2", "4Gi")}
	spec.Instances[1].Tolerations = []corev1.Toleration{{Key: "big", Operator: corev1.TolerationOpExists}}
	spec.Instances[1].Affinity = &corev1.Affinity{}
	spec.Users = []v1beta1.UserSpec{
		{Name: "keeper", Databases: []v1beta1.DatabaseName{"zoo", "food"}, Options: "CREATEDB"},
		{Name: "guest"},
	}
	withDynamic(`{"postgresql":{"parameters":{"max_connections":200}}}`)(cluster)
	spec.Patroni.LeaderLeaseDurationSeconds = ptr.To[int32](20)
	spec.Patroni.SyncPeriodSeconds = ptr.To[int32](5)
	withPooler(cluster)
	pooler := spec.Proxy.PGBouncer
	pooler.Image = "registry.example/pgbouncer:1.24"
	pooler.Port = ptr.To[int32](6432)
	pooler.Resources = corev1.ResourceRequirements{Requests: resources("100m", "64Mi")}
	pooler.Config.Global = map[string]string{"pool_mode": "transaction"}
	pooler.Metadata = &v1beta1.Metadata{Annotations: map[string]string{"front": "yes"}}
	pooler.Service = &v1beta1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Metadata: &v1beta1.Metadata{Annotations: map[string]string{"lb": "internal"}}}
	spec.Service = &v1beta1.ServiceSpec{Type: corev1.ServiceTypeNodePort, NodePort: ptr.To[int32](30432)}
	spec.TLS = &v1beta1.TLSSpec{
		MinimumVersion: "1.2",
		Server: &v1beta1.ServerTLSSpec{
			Instances: &v1beta1.ServerCertificateSpec{DNSNames: []string{"db.example.org"}, IPAddresses: []string{"192.0.2.7"}},
			PGBouncer: &v1beta1.ServerCertificateSpec{DNSNames: []string{"pool.example.org"}},
		},
	}
}

func settings() Settings {
	return Settings{
		ClusterDomain:     "cluster.local",
		OperatorNamespace: "pgtls-system",
		Images: Images{
			Postgres:  map[int]string{15: "pgtls.dev/postgres-15", 17: "pgtls.dev/postgres-17"},
			PGBouncer: "pgtls.dev/pgbouncer", Agent: "pgtls.dev/agent",
		},
	}
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
