package gather

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

func TestWhoseSessionsCount(t *testing.T) {
	own := map[string]bool{"10.0.0.1": true}
	v := &look{Snapshot: &snapshot.Snapshot{Cluster: &v1beta1.PostgresCluster{ObjectMeta: metav1.ObjectMeta{Name: "hippo"}}}}
	company := authorityOfACompany(t)
	anchorOf(v, facts.Client, company)
	got := foreignSessions(v, []postgres.Session{
		{User: "ann", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g1"},
		{User: "ann", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g1"}, // twice is once
		{User: "bob", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g2"},
		{User: "zoo", Address: "10.0.0.1", IssuerDN: "/CN=hippo client ca g1"},    // through a pooler, which has a new certificate
		{User: "_pgtls", Address: "10.0.0.7", IssuerDN: "/CN=hippo client ca g1"}, // the operator, which has one too
		{User: "eve", Address: "10.0.0.9", IssuerDN: "/CN=other client ca g1"},
		{User: "joe", Address: "10.0.0.9", IssuerDN: "/C=CH/O=Company/CN=Company CA"},
		{User: "ann", Address: "10.0.0.9"}, // by password
	}, own)
	want := []facts.Session{
		{Generation: 1, Issuer: "/CN=hippo client ca g1", User: "ann", Address: "10.0.0.9"},
		{Generation: 2, Issuer: "/CN=hippo client ca g2", User: "bob", Address: "10.0.0.9"},
		{Issuer: "/CN=other client ca g1", User: "eve", Address: "10.0.0.9"},
		{Issuer: "CN=Company CA,O=Company,C=CH", User: "joe", Address: "10.0.0.9"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Two that PostgreSQL cannot tell apart: either may be meant, and none may be taken for the other.
func TestOfTwoIssuersOfOneNameNeitherIsNamed(t *testing.T) {
	v := &look{Snapshot: &snapshot.Snapshot{Cluster: &v1beta1.PostgresCluster{ObjectMeta: metav1.ObjectMeta{Name: "hippo"}}}}
	long := "A company whose name alone has more letters than there is room for"
	for _, name := range []string{"first", "second"} {
		anchorOf(v, facts.Client, authorityCalled(t, pkix.Name{Organization: []string{long}, CommonName: name}))
	}
	cut := ("/O=" + long)[:63]
	if got := issuerNamed(v, cut); got != cut {
		t.Errorf("it is taken for %q", got)
	}
}

// authorityOfACompany has a name in more than one part.
func authorityOfACompany(t *testing.T) *x509.Certificate {
	t.Helper()
	return authorityCalled(t, pkix.Name{Country: []string{"CH"}, Organization: []string{"Company"}, CommonName: "Company CA"})
}

func authorityCalled(t *testing.T, name pkix.Name) *x509.Certificate {
	t.Helper()
	return pkitest.CA("", pkitest.Subject(name)).Certificate
}
