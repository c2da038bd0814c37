package request

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
)

func owned(names ...string) (all []unstructured.Unstructured) {
	for _, name := range names {
		var u unstructured.Unstructured
		u.SetName(name)
		all = append(all, u)
	}
	return all
}

// What is taken back depends on what exists, and on nothing that the status says.
func TestStepsFollowFromWhatExists(t *testing.T) {
	const instances, pooler, replication = "hippo-instances-cert", "hippo-pgbouncer-cert", "hippo-replication-cert"
	away := errors.New("away")
	for name, c := range map[string]struct {
		issuer  bool // of servers
		known   snapshot.Certificates
		differs bool
		want    []string
	}{
		"nothing is wanted, and there is nothing": {},
		"wanted and missing":                      {issuer: true, want: []string{"ApplyCertificate " + instances, "ApplyCertificate " + pooler}},
		"wanted and in force":                     {issuer: true, known: snapshot.Certificates{Owned: owned(instances, pooler)}},
		"wanted and another":                      {issuer: true, differs: true, known: snapshot.Certificates{Owned: owned(instances, pooler)}, want: []string{"ApplyCertificate " + instances, "ApplyCertificate " + pooler}},
		"wanted no longer":                        {known: snapshot.Certificates{Owned: owned(pooler)}, want: []string{"DeleteCertificate " + pooler}},
		"another one is wanted":                   {issuer: true, known: snapshot.Certificates{Owned: owned(instances, pooler, replication)}, want: []string{"DeleteCertificate " + replication}},
		"of no slot of today":                     {known: snapshot.Certificates{Owned: owned("hippo-former-cert")}, want: []string{"DeleteCertificate hippo-former-cert"}},
		"no cert-manager":                         {issuer: true, known: snapshot.Certificates{Unavailable: true}},
		"not known":                               {issuer: true, known: snapshot.Certificates{Err: away}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &snapshot.Snapshot{Cluster: tlstest.ACluster(), Certificates: c.known}
			if c.issuer {
				s.Cluster.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{IssuerRef: &v1beta1.IssuerReference{Name: "company"}}}
			}
			steps, err := Steps(s, "cluster.local", func(_, _ client.Object) (bool, error) { return c.differs, nil })
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, step := range steps {
				got = append(got, fmt.Sprint(step))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
