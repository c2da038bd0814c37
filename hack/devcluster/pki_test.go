package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
)

func TestServerCertificateVerifiesForItsNamesAndAddresses(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ca, err := newAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.server(now, []string{"kubernetes"}, []net.IP{net.ParseIP(apiServiceIP)})
	if err != nil {
		t.Fatal(err)
	}
	leaf := parsePair(t, pair)
	for name, wanted := range map[string]bool{"kubernetes": true, apiServiceIP: true, "other": false, "10.0.0.1": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: poolOf(ca), DNSName: name, CurrentTime: now})
		if (err == nil) != wanted {
			t.Errorf("verifying for %s: %v, want success %t", name, err, wanted)
		}
	}
}

func TestUsersAreWhoTheirKubeconfigsSay(t *testing.T) {
	l, now := layout{state: t.TempDir()}, time.Now()
	if err := writeCredentials(l, nodesUpTo(2), now); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, u := range users(nodesUpTo(2)) {
		config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig(u.file))
		if err != nil {
			t.Fatal(err)
		}
		leaf := parsePair(t, keyPair{cert: config.CertData, key: config.KeyData})
		if leaf.Subject.CommonName != u.name {
			t.Errorf("%s speaks as %s, want %s", u.file, leaf.Subject.CommonName, u.name)
		}
		if diff := cmp.Diff(u.groups, leaf.Subject.Organization); diff != "" {
			t.Errorf("groups of %s: %s", u.file, diff)
		}
		if names[u.name] {
			t.Errorf("two parts speak as %s: the audit log could not tell them apart", u.name)
		}
		names[u.name] = true
		if config.Host != apiURL() {
			t.Errorf("%s dials %s, want %s", u.file, config.Host, apiURL())
		}
	}
}

func parsePair(t *testing.T, pair keyPair) *x509.Certificate {
	t.Helper()
	loaded, err := tls.X509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Leaf
}

func poolOf(ca authority) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}
