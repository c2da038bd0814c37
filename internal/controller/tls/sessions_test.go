package tls

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation"
)

func TestWhoseSessionsCount(t *testing.T) {
	own := map[string]bool{"10.0.0.1": true}
	got := foreignSessions("hippo", []postgres.Session{
		{User: "ann", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g1"},
		{User: "ann", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g1"}, // twice is once
		{User: "bob", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g2"},
		{User: "zoo", Address: "10.0.0.1", IssuerDN: "/CN=hippo client ca g1"},    // through a pooler, which has a new certificate
		{User: "_pgtls", Address: "10.0.0.7", IssuerDN: "/CN=hippo client ca g1"}, // the operator, which has one too
		{User: "eve", Address: "10.0.0.9", IssuerDN: "/CN=hippo server ca g1"},
		{User: "eve", Address: "10.0.0.9", IssuerDN: "/CN=other client ca g1"},
		{User: "ann", Address: "10.0.0.9"}, // by password
	}, own)
	want := []rotation.Session{{Generation: 1, User: "ann", Address: "10.0.0.9"}, {Generation: 2, User: "bob", Address: "10.0.0.9"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
