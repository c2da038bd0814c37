package harness

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
)

// Builder makes a PostgresCluster, one method per property.
type Builder struct {
	cluster v1beta1.PostgresCluster
}

// NewCluster begins with one small instance of PostgreSQL 17 and no pooler.
func NewCluster(namespace, name string) *Builder {
	b := &Builder{}
	b.cluster.Namespace, b.cluster.Name = namespace, name
	b.cluster.Spec.PostgresVersion = 17
	b.cluster.Spec.Instances = []v1beta1.InstanceSetSpec{{
		Name:     "00",
		Replicas: ptr.To[int32](1),
		DataVolumeClaimSpec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}}
	return b
}

// WithInstances sets the number of instances.
func (b *Builder) WithInstances(n int) *Builder {
	b.cluster.Spec.Instances[0].Replicas = ptr.To(int32(n))
	return b
}

// WithPoolers sets the number of PgBouncers.
func (b *Builder) WithPoolers(n int) *Builder {
	b.cluster.Spec.Proxy = &v1beta1.ProxySpec{PGBouncer: &v1beta1.PGBouncerSpec{Replicas: ptr.To(int32(n))}}
	return b
}

// LeafLife gives every leaf, of servers and of clients, this life, and has it renewed when renewBefore of it is left.
func (b *Builder) LeafLife(life, renewBefore time.Duration) *Builder {
	spec := v1beta1.CertificateSpec{Duration: CertificateDuration(life), RenewBefore: CertificateDuration(renewBefore)}
	b.cluster.Spec.TLS = &v1beta1.TLSSpec{
		Server: &v1beta1.ServerTLSSpec{
			Instances: &v1beta1.ServerCertificateSpec{CertificateSpec: spec},
			PGBouncer: &v1beta1.ServerCertificateSpec{CertificateSpec: spec},
		},
		Client: &v1beta1.ClientTLSSpec{Replication: &spec, PGBouncer: &spec, Operator: &spec},
	}
	return b
}

// CertificateDuration is a length of time as the spec writes it.
func CertificateDuration(d time.Duration) *v1beta1.CertificateDuration {
	return ptr.To(v1beta1.CertificateDuration(fmt.Sprintf("%.0fs", d.Seconds())))
}

// FailingOverWithin sets Patroni's lease, so that a story need not wait long for a failover.
func (b *Builder) FailingOverWithin(lease time.Duration) *Builder {
	b.cluster.Spec.Patroni = &v1beta1.PatroniSpec{
		LeaderLeaseDurationSeconds: ptr.To(int32(lease.Seconds())),
		SyncPeriodSeconds:          ptr.To(int32(max(1, lease.Seconds()/5))),
	}
	return b
}

// With changes anything else.
func (b *Builder) With(change func(*v1beta1.PostgresClusterSpec)) *Builder {
	change(&b.cluster.Spec)
	return b
}

// Build returns the object. It is the caller's own.
func (b *Builder) Build() *v1beta1.PostgresCluster {
	built := b.cluster.DeepCopy()
	built.TypeMeta = metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: "PostgresCluster"}
	return built
}
