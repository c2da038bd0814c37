package tls

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/rotation"
)

const Day = 24 * time.Hour

func names(parties []rotation.Party) []string {
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
		"as it is": {func(*v1beta1.PostgresClusterSpec) {}, materials},
		"no pooler": {func(s *v1beta1.PostgresClusterSpec) { s.Proxy = nil },
			[]string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-operator-tls"}},
		"scaled down": {func(s *v1beta1.PostgresClusterSpec) { s.Instances[0].Replicas = ptr.To(int32(1)) },
			[]string{"hippo-a-0-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}},
		"one by default": {func(s *v1beta1.PostgresClusterSpec) { s.Instances[0].Replicas = nil },
			[]string{"hippo-a-0-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}},
		"two sets": {func(s *v1beta1.PostgresClusterSpec) {
			s.Instances = append(s.Instances, v1beta1.InstanceSetSpec{Name: "big"})
		}, []string{"hippo-a-0-tls", "hippo-a-1-tls", "hippo-big-0-tls", "hippo-operator-tls", "hippo-pgbouncer-tls"}},
		"more poolers are one party": {func(s *v1beta1.PostgresClusterSpec) { s.Proxy.PGBouncer.Replicas = ptr.To(int32(9)) }, materials},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster := tlstest.ACluster()
			c.change(&cluster.Spec)
			got := names(wanted.Parties(cluster, "cluster.local", nil))
			if !slices.Equal(got, c.want) || !slices.IsSorted(got) {
				t.Errorf("parties = %v, want %v", got, c.want)
			}
		})
	}
}

func TestEachPartyIsWhoPostgreSQLKnows(t *testing.T) {
	parties := wanted.Parties(tlstest.ACluster(), "cluster.local", nil)
	for name, identity := range map[string]string{
		"hippo-operator-tls": agentapi.OperatorIdentity, "hippo-a-0-tls": agentapi.ReplicationIdentity, "hippo-pgbouncer-tls": agentapi.PGBouncerIdentity,
	} {
		if got := wanted.Want(t, parties, name, rotation.Client); got.CommonName != identity || len(got.DNSNames)+len(got.IPs) > 0 {
			t.Errorf("%s: client leaf %+v, want %s and no names", name, got, identity)
		}
	}
	for _, p := range parties {
		if p.Kind == rotation.Operator && len(p.Wants) != 1 {
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
	parties := wanted.Parties(cluster, "cluster.local.", services)
	instance := wanted.Want(t, parties, InstanceMaterial, rotation.Server)
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
	pooler := wanted.Want(t, parties, "hippo-pgbouncer-tls", rotation.Server)
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
	got := wanted.Texts([]netip.Addr{netip.MustParseAddr("9.0.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1")})
	if want := []string{"10.0.0.1", "9.0.0.1", "::1"}; !slices.Equal(got, want) {
		t.Errorf("texts = %v, want %v", got, want)
	}
}

func TestALoadBalancersAddressIsTakenInWhenItComes(t *testing.T) {
	h := newHouse(t)
	h.reconcile()
	before := h.secret(InstanceMaterial)
	var service corev1.Service
	if err := h.client.Get(t.Context(), h.key("hippo-primary"), &service); err != nil {
		t.Fatal(err)
	}
	ingress := func(points ...corev1.LoadBalancerIngress) {
		service.Status.LoadBalancer.Ingress = points
		if err := h.client.Status().Update(t.Context(), &service); err != nil {
			t.Fatal(err)
		}
		h.reconcile()
	}
	ingress(corev1.LoadBalancerIngress{IP: "192.0.2.9", Hostname: "db.example.com"})
	facts := h.r.inspectByName(t, h, InstanceMaterial).Leaves[0]
	if !slices.Contains(facts.IPs, "192.0.2.9") || !slices.Contains(facts.DNSNames, "db.example.com") {
		t.Errorf("the leaf covers %v %v", facts.IPs, facts.DNSNames)
	}
	after := h.secret(InstanceMaterial)
	if !cmp.Equal(before.Data[agentapi.ClientCertificate], after.Data[agentapi.ClientCertificate]) {
		t.Error("the client leaf has no names and was issued anew")
	}
	ingress() // a name that is no longer wanted is kept until the next renewal
	if !cmp.Equal(after.Data, h.secret(InstanceMaterial).Data) {
		t.Error("an address went, and the leaf was issued anew at once")
	}
}

func TestPausesGrowWhileTheSameIsWaitedFor(t *testing.T) {
	r := newRetries()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := r.after(tlstest.Hippo, "a pod"); got != want*time.Second {
			t.Errorf("pause %s, want %d s", got, want)
		}
	}
	if got := r.after(tlstest.Hippo, "another pod"); got != retryMin {
		t.Errorf("waiting for something else, the pause is %s", got)
	}
	if got := r.after(tlstest.Hippo, ""); got != 0 || len(r.waiting) > 0 {
		t.Errorf("waiting for nothing, the pause is %s and %v is kept", got, r.waiting)
	}
}

func TestAWakeInThePastIsAtOnce(t *testing.T) {
	h := newHouse(t)
	blockers := []rotation.Blocker{{Party: "x", Reason: rotation.NotProven}}
	for name, c := range map[string]struct {
		plan rotation.Plan
		want time.Duration
	}{
		"nothing":          {rotation.Plan{}, 0},
		"in an hour":       {rotation.Plan{Wake: h.now.Add(time.Hour)}, time.Hour},
		"an hour ago":      {rotation.Plan{Wake: h.now.Add(-time.Hour)}, time.Millisecond},
		"blocked":          {rotation.Plan{Blockers: blockers}, retryMin},
		"blocked, and due": {rotation.Plan{Blockers: blockers, Wake: h.now.Add(time.Minute)}, retryMin},
		"due before that":  {rotation.Plan{Blockers: blockers, Wake: h.now.Add(time.Second / 2)}, time.Second / 2},
	} {
		h.r.retries = newRetries()
		if got := h.r.pause(tlstest.Hippo, c.plan); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
