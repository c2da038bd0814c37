package metrics

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
)

func cluster(name string, tls *v1beta1.TLSStatus) v1beta1.PostgresCluster {
	return v1beta1.PostgresCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "zoo", Name: name},
		Status:     v1beta1.PostgresClusterStatus{TLS: tls},
	}
}

func TestWhatIsToldOfClusters(t *testing.T) {
	customs := cluster("customs", &v1beta1.TLSStatus{})
	customs.Status.Conditions = []metav1.Condition{
		{Type: "TLSReady", Status: metav1.ConditionTrue, Reason: "Proven"},
		{Type: "CustomCertificateServer", Status: metav1.ConditionTrue, Reason: "Presented"},
		{Type: "CustomCertificatePGBouncer", Status: metav1.ConditionFalse, Reason: "KeyMismatch"},
	}
	c := New(func(context.Context) ([]v1beta1.PostgresCluster, error) {
		return []v1beta1.PostgresCluster{
			customs,
			cluster("neverServed", nil),
			cluster("quiet", &v1beta1.TLSStatus{Authorities: []v1beta1.AuthorityStatus{{Name: "server-g1", Active: true}}}),
			cluster("busy", &v1beta1.TLSStatus{Rekeys: []v1beta1.RekeyStatus{{Domain: "client", Phase: "Preparing", From: "client-g1", To: "client-g2"}}}),
			cluster("undone", &v1beta1.TLSStatus{Authorities: []v1beta1.AuthorityStatus{
				{Name: "server-g1", Active: true, RolledBack: "server-g2", RollbackReason: "ClientsRefuse"},
			}}),
			cluster("done since", &v1beta1.TLSStatus{Authorities: []v1beta1.AuthorityStatus{
				{Name: "server-g1", RolledBack: "server-g2", RollbackReason: "ClientsRefuse"}, {Name: "server-g3", Active: true},
			}}),
		}, nil
	})
	want := `
# HELP pgtls_authority_rekey An authority is being replaced: 1 for the phase that it is in.
# TYPE pgtls_authority_rekey gauge
pgtls_authority_rekey{cluster="busy",domain="client",from="client-g1",namespace="zoo",phase="Preparing",to="client-g2"} 1
# HELP pgtls_authority_rolled_back The last re-key of the domain was undone, and is not tried again until asked: 1 for the generation that was rolled back.
# TYPE pgtls_authority_rolled_back gauge
pgtls_authority_rolled_back{cluster="undone",domain="server",generation="server-g2",namespace="zoo",reason="ClientsRefuse"} 1
# HELP pgtls_custom_certificate A certificate, or trust, that the spec takes from elsewhere: 1 when it is presented or accepted, 0 when it is refused or waits, and why.
# TYPE pgtls_custom_certificate gauge
pgtls_custom_certificate{cluster="customs",condition="CustomCertificatePGBouncer",namespace="zoo",reason="KeyMismatch"} 0
pgtls_custom_certificate{cluster="customs",condition="CustomCertificateServer",namespace="zoo",reason="Presented"} 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestNothingIsToldWhileNothingIsKnown(t *testing.T) {
	c := New(func(context.Context) ([]v1beta1.PostgresCluster, error) {
		return nil, errors.New("the cache has not started")
	})
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d series", n)
	}
}
