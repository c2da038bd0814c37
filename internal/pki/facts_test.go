package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFactsOfALeaf(t *testing.T) {
	a := sharedAuthority()
	leaf := newServer(t, a).Leaf()
	got := Facts(leaf)
	want := CertificateFacts{
		Serial:      leaf.SerialNumber.Text(16),
		Subject:     "CN=hippo-primary",
		Issuer:      "CN=shared server ca g1",
		KeyID:       got.KeyID,
		IssuerKeyID: Facts(a.Certificate).KeyID,
		NotBefore:   time.Date(2030, 3, 4, 4, 56, 7, 0, time.UTC),
		NotAfter:    time.Date(2030, 6, 2, 5, 6, 7, 0, time.UTC),
		DNSNames:    []string{"*.hippo-pods.postgres.svc", "hippo-primary.postgres.svc"},
		IPs:         []string{"10.0.0.7", "2001:db8::7"},
		Algorithm:   ECDSAP256,
		Usage:       ServerAuth,
		Fingerprint: got.Fingerprint,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Serial) != 40 || len(got.KeyID) != 40 || len(got.Fingerprint) != 64 {
		t.Errorf("serial %q, key %q, fingerprint %q", got.Serial, got.KeyID, got.Fingerprint)
	}
}

func TestFactsOfAnAuthority(t *testing.T) {
	got := Facts(newAuthority(t, "hippo client ca g3").Certificate)
	if !got.IsCA || got.KeyID == "" || got.KeyID != got.IssuerKeyID || got.Subject != "CN=hippo client ca g3" || got.Issuer != got.Subject {
		t.Errorf("%+v", got)
	}
	if got.DNSNames != nil || got.IPs != nil {
		t.Errorf("names %#v, addresses %#v: want nil, so that facts of equal certificates are equal", got.DNSNames, got.IPs)
	}
}

func TestFactsDoNotDependOnTheOrderOfNames(t *testing.T) {
	leaf := forgeLeaf(t, sharedAuthority(), func(c *x509.Certificate) { c.DNSNames = []string{"b", "a"} })[0]
	if diff := cmp.Diff([]string{"a", "b"}, Facts(leaf).DNSNames); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if leaf.DNSNames[0] != "b" {
		t.Error("the certificate has been sorted")
	}
}

func TestFactsOfAShortSerial(t *testing.T) {
	leaf := forgeLeaf(t, sharedAuthority(), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0xabc) })[0]
	if got := Facts(leaf).Serial; got != "abc" {
		t.Errorf("serial %q, want lower-case hex without leading zeros", got)
	}
}

func TestFactsEqual(t *testing.T) {
	pair := newServer(t, sharedAuthority())
	again := must[*KeyPair](t)(ParseKeyPair(pair.EncodeChain(), must[[]byte](t)(pair.EncodeKey())))
	if !Facts(pair.Leaf()).Equal(Facts(again.Leaf())) {
		t.Error("the same certificate, read again, has other facts")
	}
	if Facts(pair.Leaf()).Equal(Facts(newServer(t, sharedAuthority()).Leaf())) {
		t.Error("another certificate of the same request has the same facts")
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		usage  Usage
		text   string
		single bool
	}{
		{0, "none", false}, {ServerAuth, "server", true}, {ClientAuth, "client", true}, {ServerAuth | ClientAuth, "server+client", false}, {8, "none", false},
	}
	for _, test := range tests {
		if test.usage.String() != test.text || test.usage.single() != test.single {
			t.Errorf("%d: %q, single %v", test.usage, test.usage, test.usage.single())
		}
	}
	if both := ServerAuth | ClientAuth; !both.Has(ServerAuth) || !both.Has(ClientAuth) || !both.Has(both) || ServerAuth.Has(both) || ClientAuth.Has(ServerAuth) {
		t.Error("Has is wrong")
	}
}

func TestUsageOf(t *testing.T) {
	server, client, anyUsage := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny
	tests := []struct {
		extended []x509.ExtKeyUsage
		unknown  []asn1.ObjectIdentifier
		want     Usage
	}{
		{nil, nil, ServerAuth | ClientAuth},
		{[]x509.ExtKeyUsage{server}, nil, ServerAuth},
		{[]x509.ExtKeyUsage{client}, nil, ClientAuth},
		{[]x509.ExtKeyUsage{client, server}, nil, ServerAuth | ClientAuth},
		{[]x509.ExtKeyUsage{anyUsage}, nil, 0},
		{[]x509.ExtKeyUsage{anyUsage, client}, nil, ClientAuth},
		{[]x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, nil, 0},
		{nil, []asn1.ObjectIdentifier{{1, 2, 3}}, 0},
	}
	for _, test := range tests {
		if got := usageOf(&x509.Certificate{ExtKeyUsage: test.extended, UnknownExtKeyUsage: test.unknown}); got != test.want {
			t.Errorf("%v %v: %q, want %q", test.extended, test.unknown, got, test.want)
		}
	}
}

func TestIssuerIDTellsIssuersApart(t *testing.T) {
	a, b, other := forgeCA(t, "root", nil), forgeCA(t, "root", nil), forgeCA(t, "other", nil)
	blind := func(a *Authority) *x509.Certificate {
		return must[*x509.Certificate](t)(x509.ParseCertificate(remade(t, forgeLeaf(t, a)[0], a.Key, without(idAuthorityKey))))
	}
	if got, want := IssuerID(forgeLeaf(t, a)[0]), Facts(a.Certificate).KeyID; got != want {
		t.Errorf("%s, want the key identifier %s", got, want)
	}
	if IssuerID(forgeLeaf(t, a)[0]) == IssuerID(forgeLeaf(t, b)[0]) || IssuerID(blind(a)) == IssuerID(blind(other)) {
		t.Error("issuers are confused")
	}
}
