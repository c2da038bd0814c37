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
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation"
)

const day = 24 * time.Hour

func want(t *testing.T, parties []rotation.Party, name string, domain rotation.Domain) rotation.LeafWant {
	t.Helper()
	for _, p := range parties {
		for _, w := range p.Wants {
			if p.Name == name && w.Domain == domain {
				return w
			}
		}
	}
	t.Fatalf("%s wants no %s leaf", name, domain)
	return rotation.LeafWant{}
}

func names(parties []rotation.Party) []string {
	var out []string
	for _, p := range parties {
		out = append(out, p.Name)
	}
	return out
}

func duration(text string) *v1beta1.CertificateDuration {
	d := v1beta1.CertificateDuration(text)
	return &d
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
			cluster := aCluster()
			c.change(&cluster.Spec)
			got := names(partiesOf(cluster, "cluster.local", nil))
			if !slices.Equal(got, c.want) || !slices.IsSorted(got) {
				t.Errorf("parties = %v, want %v", got, c.want)
			}
		})
	}
}

func TestEachPartyIsWhoPostgreSQLKnows(t *testing.T) {
	parties := partiesOf(aCluster(), "cluster.local", nil)
	for name, identity := range map[string]string{
		"hippo-operator-tls": agentapi.OperatorIdentity, "hippo-a-0-tls": agentapi.ReplicationIdentity, "hippo-pgbouncer-tls": agentapi.PGBouncerIdentity,
	} {
		if got := want(t, parties, name, rotation.Client); got.CommonName != identity || len(got.DNSNames)+len(got.IPs) > 0 {
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
		s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: hippo.Namespace, Name: name}}
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
	cluster := aCluster()
	cluster.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{
		Instances: &v1beta1.ServerCertificateSpec{DNSNames: []string{"Extra.example.com"}, IPAddresses: []string{"198.51.100.7"}},
	}}
	parties := partiesOf(cluster, "cluster.local.", services)
	instance := want(t, parties, instanceMaterial, rotation.Server)
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
	pooler := want(t, parties, "hippo-pgbouncer-tls", rotation.Server)
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

func TestALoadBalancersAddressIsTakenInWhenItComes(t *testing.T) {
	h := newHouse(t)
	h.reconcile()
	before := h.secret(instanceMaterial)
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
	facts := h.r.inspectByName(t, h, instanceMaterial).Leaves[0]
	if !slices.Contains(facts.IPs, "192.0.2.9") || !slices.Contains(facts.DNSNames, "db.example.com") {
		t.Errorf("the leaf covers %v %v", facts.IPs, facts.DNSNames)
	}
	after := h.secret(instanceMaterial)
	if !cmp.Equal(before.Data[agentapi.ClientCertificate], after.Data[agentapi.ClientCertificate]) {
		t.Error("the client leaf has no names and was issued anew")
	}
	ingress() // a name that is no longer wanted is kept until the next renewal
	if !cmp.Equal(after.Data, h.secret(instanceMaterial).Data) {
		t.Error("an address went, and the leaf was issued anew at once")
	}
}

func TestLivesAndKeysComeFromTheSpec(t *testing.T) {
	cluster := aCluster()
	leaf := func(d, before, algorithm string) v1beta1.CertificateSpec {
		spec := v1beta1.CertificateSpec{KeyAlgorithm: algorithm}
		if d != "" {
			spec.Duration = duration(d)
		}
		if before != "" {
			spec.RenewBefore = duration(before)
		}
		return spec
	}
	cluster.Spec.TLS = &v1beta1.TLSSpec{
		Server: &v1beta1.ServerTLSSpec{
			Authority: ptr.To(leaf("9000h", "", "ECDSA-P384")),
			Instances: &v1beta1.ServerCertificateSpec{CertificateSpec: leaf("900h", "", "")},
			PGBouncer: &v1beta1.ServerCertificateSpec{CertificateSpec: leaf("", "100h", "RSA-3072")},
		},
		Client: &v1beta1.ClientTLSSpec{
			Authority:   ptr.To(leaf("", "1h", "")),
			Replication: ptr.To(leaf("30h", "10h", "")),
			PGBouncer:   ptr.To(leaf("60h", "", "")),
			Operator:    ptr.To(leaf("", "", "ECDSA-P384")),
		},
	}
	parties := partiesOf(cluster, "cluster.local", nil)
	policy := func(life, before time.Duration, algorithm pki.Algorithm) rotation.CertificatePolicy {
		return rotation.CertificatePolicy{Life: life, RenewBefore: before, Algorithm: algorithm}
	}
	for _, c := range []struct {
		party  string
		domain rotation.Domain
		want   rotation.CertificatePolicy
	}{
		{instanceMaterial, rotation.Server, policy(900*time.Hour, 300*time.Hour, "ECDSA-P256")},
		{"hippo-pgbouncer-tls", rotation.Server, policy(90*day, 100*time.Hour, "RSA-3072")},
		{instanceMaterial, rotation.Client, policy(30*time.Hour, 10*time.Hour, "ECDSA-P256")},
		{"hippo-pgbouncer-tls", rotation.Client, policy(60*time.Hour, 20*time.Hour, "ECDSA-P256")},
		{"hippo-operator-tls", rotation.Client, policy(30*day, 10*day, "ECDSA-P384")},
	} {
		if got := want(t, parties, c.party, c.domain).CertificatePolicy; got != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.party, c.domain, got, c.want)
		}
	}
	authorities := policyOf(cluster).Authorities
	if got := authorities[rotation.Server]; got != policy(9000*time.Hour, 4500*time.Hour, "ECDSA-P384") {
		t.Errorf("server authority: %+v", got)
	}
	if got := authorities[rotation.Client]; got != policy(2*365*day, time.Hour, "ECDSA-P256") {
		t.Errorf("client authority: %+v", got)
	}
}

func TestShortLeavesAreBackdatedLess(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		90 * day: 10 * time.Minute, 100 * time.Minute: 10 * time.Minute, 10 * time.Minute: time.Minute, 0: 0,
	} {
		if got := backdate(life); got != want {
			t.Errorf("a leaf of %s is backdated by %s, want %s", life, got, want)
		}
	}
}

func TestNamesOfAuthorities(t *testing.T) {
	type found struct {
		Domain     rotation.Domain
		Generation int
	}
	for name, want := range map[string]found{
		"hippo-server-ca-g1":      {rotation.Server, 1},
		"hippo-client-ca-g12":     {rotation.Client, 12},
		"hippo-client-ca-g2-copy": {rotation.Client, 2},
		"hippo-server-ca-g01":     {},
		"hippo-server-ca-g0":      {},
		"hippo-server-ca-g":       {},
		"hippo-server-ca-g-1":     {},
		"hippo-server-ca-g1-tls":  {},
		"hippo-other-ca-g1":       {},
		"rhino-server-ca-g1":      {},
		"hippo-operator-tls":      {},
		"":                        {},
	} {
		domain, generation := authorityNamed("hippo", name)
		if got := (found{domain, generation}); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}

func TestPausesGrowWhileTheSameIsWaitedFor(t *testing.T) {
	r := newRetries()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := r.after(hippo, "a pod"); got != want*time.Second {
			t.Errorf("pause %s, want %d s", got, want)
		}
	}
	if got := r.after(hippo, "another pod"); got != retryMin {
		t.Errorf("waiting for something else, the pause is %s", got)
	}
	if got := r.after(hippo, ""); got != 0 || len(r.waiting) > 0 {
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
		if got := h.r.pause(hippo, c.plan); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
