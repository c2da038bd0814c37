package desired

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/party"
)

func service(namespace, name string, change func(*corev1.Service)) corev1.Service {
	s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	change(&s)
	return s
}

func addresses(texts ...string) []netip.Addr {
	var parsed []netip.Addr
	for _, text := range texts {
		parsed = append(parsed, netip.MustParseAddr(text))
	}
	return parsed
}

func compare(t *testing.T, want, got Names) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNamesOfAnInstanceAreItsPodsAndThoseOfEveryRole(t *testing.T) {
	compare(t, Names{DNS: []string{
		"hippo-00-0-0",
		"hippo-00-0-0.hippo-pods",
		"hippo-00-0-0.hippo-pods.zoo",
		"hippo-00-0-0.hippo-pods.zoo.svc",
		"hippo-00-0-0.hippo-pods.zoo.svc.cluster.local",
		"hippo-primary",
		"hippo-primary.zoo",
		"hippo-primary.zoo.svc",
		"hippo-primary.zoo.svc.cluster.local",
		"hippo-replicas",
		"hippo-replicas.zoo",
		"hippo-replicas.zoo.svc",
		"hippo-replicas.zoo.svc.cluster.local",
	}}, instanceNames(hippo(), nil))
}

func TestNamesFollowTheServicesAndTheSpec(t *testing.T) {
	services := []corev1.Service{
		service("zoo", "hippo-primary", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.0.0.9", []string{"10.0.0.9", "fd00::9"}
			s.Spec.ExternalIPs = []string{"198.51.100.4"}
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.5"}, {Hostname: "LB.Example.Org."}}
		}),
		service("zoo", "hippo-replicas", func(s *corev1.Service) { s.Spec.ExternalName = "readers.example.org" }),
		service("zoo", "hippo-pods", func(s *corev1.Service) { s.Spec.ClusterIP = "None" }),
		service("zoo", "hippo-pgbouncer", func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.10" }),
		service("elsewhere", "hippo-primary", func(s *corev1.Service) { s.Spec.ClusterIP = "10.9.9.9" }),
	}
	plain := instanceNames(hippo(everything), nil)
	got := instanceNames(hippo(everything), services)
	want := Names{
		DNS: []string{"lb.example.org", "readers.example.org"},
		IPs: addresses("10.0.0.9", "198.51.100.4", "203.0.113.5", "fd00::9"),
	}
	compare(t, want, Names{DNS: without(got.DNS, plain.DNS), IPs: without(got.IPs, plain.IPs)})
	compare(t, Names{DNS: []string{"db.example.org"}, IPs: addresses("192.0.2.7")},
		Names{DNS: without(plain.DNS, instanceNames(hippo(), nil).DNS), IPs: plain.IPs})
}

func TestPoolersAreOneParty(t *testing.T) {
	services := []corev1.Service{service("zoo", "hippo-pgbouncer", func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.10" })}
	compare(t, Names{DNS: []string{
		"hippo-pgbouncer",
		"hippo-pgbouncer.zoo",
		"hippo-pgbouncer.zoo.svc",
		"hippo-pgbouncer.zoo.svc.kube.test",
		"pool.example.org",
	}, IPs: addresses("10.0.0.10")}, poolerNames(hippo(everything), services))
}

func TestAnAddressIsListedOnce(t *testing.T) {
	cluster := hippo(func(c *v1beta1.PostgresCluster) {
		c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{Instances: &v1beta1.ServerCertificateSpec{
			IPAddresses: []string{"192.0.2.1", "::ffff:192.0.2.1"}, DNSNames: []string{"A.example.org", "a.example.org"},
		}}}
	})
	got := instanceNames(cluster, nil)
	if diff := cmp.Diff(addresses("192.0.2.1"), got.IPs, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if got.DNS[0] != "a.example.org" || got.DNS[1] == "a.example.org" {
		t.Errorf("names start with %q", got.DNS[:2])
	}
}

func without[T comparable](from, these []T) []T {
	var left []T
	for _, item := range from {
		found := false
		for _, other := range these {
			found = found || item == other
		}
		if !found {
			left = append(left, item)
		}
	}
	return left
}

// instanceNames are those of the first instance's server leaf.
func instanceNames(cluster *v1beta1.PostgresCluster, services []corev1.Service) Names {
	var extra *v1beta1.ServerCertificateSpec
	if tls := cluster.Spec.TLS; tls != nil && tls.Server != nil {
		extra = tls.Server.Instances
	}
	return ServerNames(cluster, party.Instance.Leaf(party.Server).Names, "hippo-00-0", extra, "cluster.local", services)
}

func poolerNames(cluster *v1beta1.PostgresCluster, services []corev1.Service) Names {
	return ServerNames(cluster, party.Pooler.Leaf(party.Server).Names, PoolerName(cluster.Name), cluster.Spec.TLS.Server.PGBouncer, "kube.test.", services)
}
