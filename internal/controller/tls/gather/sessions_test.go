package gather

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/internal/postgres"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// A PostgreSQL that hangs costs the others no time. The second answer comes only once both were asked.
func TestEveryPostgreSQLIsAskedForItsSessionsAtOnce(t *testing.T) {
	v := clusterOfTwo(t)
	synctest.Test(t, func(t *testing.T) { // ends the test when they wait for each other
		var asked sync.WaitGroup
		asked.Add(2)
		g := &Gatherer{Now: time.Now, Sessions: func(_ context.Context, server postgres.Server) ([]postgres.Session, error) {
			asked.Done()
			asked.Wait()
			if server.Host == "10.0.0.2" {
				return nil, errors.New("no answer")
			}
			return []postgres.Session{{User: "ann", Address: "10.0.0.9", IssuerDN: "/CN=hippo client ca g1"}}, nil
		}}
		g.GatherSessions(t.Context(), v)
	})
	want := []facts.Pod{
		{Name: "hippo-a-0-0", SessionsKnown: true, Sessions: []facts.Session{{Generation: 1, Issuer: "/CN=hippo client ca g1", User: "ann", Address: "10.0.0.9"}}},
		{Name: "hippo-a-1-0"},
	}
	if diff := cmp.Diff(want, slices.Concat(v.Party("hippo-a-0").Pods, v.Party("hippo-a-1").Pods)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// clusterOfTwo has two instances, of one pod each, and an operator with a certificate.
func clusterOfTwo(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	authority := pkitest.CA("hippo client ca g1")
	leaf := authority.Leaf(agentapi.OperatorIdentity, pkitest.Client)
	pod := func(name, address string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{PodIP: address}}
	}
	return &snapshot.Snapshot{
		Cluster: tlstest.ACluster(),
		Observed: facts.Observed{Parties: []facts.Party{
			{Name: "hippo-operator-tls", Kind: party.Operator},
			{Name: "hippo-a-0", Kind: party.Instance, Pods: []facts.Pod{{Name: "hippo-a-0-0"}}},
			{Name: "hippo-a-1", Kind: party.Instance, Pods: []facts.Pod{{Name: "hippo-a-1-0"}}},
		}},
		Material: map[string]*corev1.Secret{"hippo-operator-tls": {Data: map[string][]byte{
			agentapi.ClientCertificate: leaf.ChainPEM(), agentapi.ClientKey: leaf.KeyPEM(), agentapi.ServerBundle: authority.PEM(),
		}}},
		Pods: map[string]*corev1.Pod{"hippo-a-0-0": pod("hippo-a-0-0", "10.0.0.1"), "hippo-a-1-0": pod("hippo-a-1-0", "10.0.0.2")},
	}
}

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
