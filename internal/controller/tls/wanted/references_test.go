package wanted

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/rotation"
)

func TestWhatASpecNamesIsIndexed(t *testing.T) {
	issuer := &v1beta1.IssuerReference{Name: "company"}
	cases := map[string]struct {
		how  []func(*v1beta1.PostgresCluster)
		want []string
	}{
		"nothing":             {nil, nil},
		"three Secrets":       {[]func(*v1beta1.PostgresCluster){tls.Naming(tls.ServerSlot, "s"), tls.Naming(tls.ReplicationSlot, "r"), tls.Naming(tls.PoolerSlot, "p")}, []string{"Secret/p", "Secret/r", "Secret/s"}},
		"one Secret twice":    {[]func(*v1beta1.PostgresCluster){tls.Naming(tls.ServerSlot, "s"), tls.Naming(tls.PoolerSlot, "s")}, []string{"Secret/s"}},
		"trust of both kinds": {[]func(*v1beta1.PostgresCluster){tls.Trusting(rotation.Server, tls.InSecret, tls.InConfigMap)}, []string{"ConfigMap/bundle", "Secret/partners"}},
		"trust of clients":    {[]func(*v1beta1.PostgresCluster){tls.Trusting(rotation.Client, tls.InConfigMap)}, []string{"ConfigMap/bundle"}},
		"issuers": {[]func(*v1beta1.PostgresCluster){func(c *v1beta1.PostgresCluster) {
			c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{IssuerRef: issuer}, Client: &v1beta1.ClientTLSSpec{IssuerRef: issuer}}
		}}, []string{"Secret/hippo-instances-cert", "Secret/hippo-pgbouncer-cert", "Secret/hippo-replication-cert"}},
		"an issuer, and a Secret in its place": {[]func(*v1beta1.PostgresCluster){tls.Naming(tls.ServerSlot, "s"), func(c *v1beta1.PostgresCluster) {
			c.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{IssuerRef: issuer}}
			c.Spec.Proxy = nil
		}}, []string{"Secret/s"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cluster := tlstest.ACluster()
			for _, how := range c.how {
				how(cluster)
			}
			if diff := cmp.Diff(c.want, tls.ReferencesIn(cluster)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got := tls.ReferencesIn(&corev1.Pod{}); got != nil {
		t.Errorf("a pod names %v", got)
	}
}
