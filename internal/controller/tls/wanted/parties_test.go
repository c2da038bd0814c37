package wanted

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func materials() []string {
	return []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}
}

func names(parties []facts.Party) []string {
	var out []string
	for _, p := range parties {
		out = append(out, p.Name)
	}
	return out
}

func TestPartiesFollowTheSpec(t *testing.T) {
	cases := map[string]struct {
		change func(*v1beta1.PostgresClusterSpec)
		want   []string
	}{
		"as it is": {func(*v1beta1.PostgresClusterSpec) {}, materials()},
		"no pooler": {func(s *v1beta1.PostgresClusterSpec) { s.Proxy = nil },
			[]string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-operator-tls"}},
		"scaled down": {func(s *v1beta1.PostgresClusterSpec) { s.Instances[0].Replicas = ptr.To(int32(1)) },
			[]string{"hippo-a-0-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}},
		"one by default": {func(s *v1beta1.PostgresClusterSpec) { s.Instances[0].Replicas = nil },
			[]string{"hippo-a-0-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}},
		"two sets": {func(s *v1beta1.PostgresClusterSpec) {
			s.Instances = append(s.Instances, v1beta1.InstanceSetSpec{Name: "big"})
		}, []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-big-0-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}},
		"more poolers are one party": {func(s *v1beta1.PostgresClusterSpec) { s.Proxy.PGBouncer.Replicas = ptr.To(int32(9)) }, materials()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster := tlstest.ACluster()
			c.change(&cluster.Spec)
			got := names(Parties(cluster, "cluster.local", nil))
			if !slices.Equal(got, c.want) || !slices.IsSorted(got) {
				t.Errorf("parties = %v, want %v", got, c.want)
			}
		})
	}
}

func TestEachPartyIsWhoPostgreSQLKnows(t *testing.T) {
	parties := Parties(tlstest.ACluster(), "cluster.local", nil)
	for name, identity := range map[string]string{
		"hippo-operator-tls": agentapi.OperatorIdentity, "hippo-a-0-tls": agentapi.ReplicationIdentity, "hippo-pgbouncer-tls": agentapi.PGBouncerIdentity,
	} {
		if got := want(t, parties, name, facts.Client); got.CommonName != identity || len(got.DNSNames)+len(got.IPs) > 0 {
			t.Errorf("%s: client leaf %+v, want %s and no names", name, got, identity)
		}
	}
	for _, p := range parties {
		if p.Kind == party.Operator && len(p.Wants) != 1 {
			t.Errorf("the operator serves nothing and wants %+v", p.Wants)
		}
	}
}

func TestServerNames(t *testing.T) {
	service := func(name string, change func(*corev1.Service)) corev1.Service {
		s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: tlstest.Hippo.Namespace, Name: name}}
		change(&s)
		return s
	}
	services := []corev1.Service{
		service("hippo-primary", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.10", []string{"10.96.0.10", "fd00::10"}
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.9"}, {Hostname: "DB.Example.COM."}}
		}),
		service("hippo-pods", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }),
		service("hippo-pgbouncer", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.20" }),
		service("rhino-primary", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.66" }),
	}
	cluster := tlstest.ACluster()
	cluster.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{
		Instances: &v1beta1.ServerCertificateSpec{DNSNames: []string{"Extra.example.com"}, IPAddresses: []string{"198.51.100.7"}},
	}}
	parties := Parties(cluster, "cluster.local.", services)
	instance := want(t, parties, "hippo-a-0-tls", facts.Server)
	wantNames := []string{
		"db.example.com", "extra.example.com",
		"hippo-a-0-0", "hippo-a-0-0.hippo-pods", "hippo-a-0-0.hippo-pods.zoo", "hippo-a-0-0.hippo-pods.zoo.svc", "hippo-a-0-0.hippo-pods.zoo.svc.cluster.local",
		"hippo-primary", "hippo-primary.zoo", "hippo-primary.zoo.svc", "hippo-primary.zoo.svc.cluster.local",
		"hippo-replicas", "hippo-replicas.zoo", "hippo-replicas.zoo.svc", "hippo-replicas.zoo.svc.cluster.local",
	}
	if diff := cmp.Diff(wantNames, instance.DNSNames); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.96.0.10", "192.0.2.9", "198.51.100.7", "fd00::10"}, instance.IPs); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	pooler := want(t, parties, "hippo-pgbouncer-tls", facts.Server)
	if diff := cmp.Diff([]string{"hippo-pgbouncer", "hippo-pgbouncer.zoo", "hippo-pgbouncer.zoo.svc", "hippo-pgbouncer.zoo.svc.cluster.local"}, pooler.DNSNames); diff != "" {
		t.Errorf("pooler's names (-want +got):\n%s", diff)
	}
	for _, p := range parties {
		for _, w := range p.Wants {
			if !slices.IsSorted(w.DNSNames) || !slices.IsSorted(w.IPs) {
				t.Errorf("%s: not sorted as they are compared: %v %v", p.Name, w.DNSNames, w.IPs)
			}
			if i := slices.IndexFunc(w.DNSNames, func(n string) bool { return strings.HasSuffix(n, ".") || strings.ToLower(n) != n }); i >= 0 {
				t.Errorf("%s: name %q ends in a dot or is not lower case", p.Name, w.DNSNames[i])
			}
		}
	}
}

func TestAddressesAreSortedAsTheCertificatesFactsAre(t *testing.T) {
	got := texts([]netip.Addr{netip.MustParseAddr("9.0.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1")})
	if want := []string{"10.0.0.1", "9.0.0.1", "::1"}; !slices.Equal(got, want) {
		t.Errorf("texts = %v, want %v", got, want)
	}
}
