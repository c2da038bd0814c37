package wanted

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/tlstest"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

const day = 24 * time.Hour

func want(t *testing.T, parties []facts.Party, name string, domain facts.Domain) facts.LeafWant {
	t.Helper()
	for _, p := range parties {
		for _, w := range p.Wants {
			if p.Name == name && w.Domain == domain {
				return w
			}
		}
	}
	t.Fatalf("%s wants no %s leaf", name, domain)
	return facts.LeafWant{}
}

func TestLivesAndKeysComeFromTheSpec(t *testing.T) {
	cluster := tlstest.ACluster()
	leaf := func(d, before, algorithm string) v1beta1.CertificateSpec {
		spec := v1beta1.CertificateSpec{KeyAlgorithm: algorithm}
		if d != "" {
			spec.Duration = tlstest.Duration(d)
		}
		if before != "" {
			spec.RenewBefore = tlstest.Duration(before)
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
	parties := Parties(cluster, "cluster.local", nil)
	policy := func(life, before time.Duration, algorithm pki.Algorithm) facts.CertificatePolicy {
		return facts.CertificatePolicy{Life: life, RenewBefore: before, Algorithm: algorithm}
	}
	for _, c := range []struct {
		party  string
		domain facts.Domain
		want   facts.CertificatePolicy
	}{
		{"hippo-a-0-tls", facts.Server, policy(900*time.Hour, 300*time.Hour, "ECDSA-P256")},
		{"hippo-pgbouncer-tls", facts.Server, policy(90*day, 100*time.Hour, "RSA-3072")},
		{"hippo-a-0-tls", facts.Client, policy(30*time.Hour, 10*time.Hour, "ECDSA-P256")},
		{"hippo-pgbouncer-tls", facts.Client, policy(60*time.Hour, 20*time.Hour, "ECDSA-P256")},
		{"hippo-operator-tls", facts.Client, policy(30*day, 10*day, "ECDSA-P384")},
	} {
		if got := want(t, parties, c.party, c.domain).CertificatePolicy; got != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.party, c.domain, got, c.want)
		}
	}
	authorities := Policy(cluster).Authorities
	if got := authorities[facts.Server]; got != policy(9000*time.Hour, 4500*time.Hour, "ECDSA-P384") {
		t.Errorf("server authority: %+v", got)
	}
	if got := authorities[facts.Client]; got != policy(2*365*day, time.Hour, "ECDSA-P256") {
		t.Errorf("client authority: %+v", got)
	}
}

func TestShortLeavesAreBackdatedLess(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		90 * day: 10 * time.Minute, 100 * time.Minute: 10 * time.Minute, 10 * time.Minute: time.Minute, 0: 0,
	} {
		if got := Backdate(life); got != want {
			t.Errorf("a leaf of %s is backdated by %s, want %s", life, got, want)
		}
	}
}

func TestDefaultLivesAreThoseOfTheDesign(t *testing.T) {
	got := map[string]facts.CertificatePolicy{}
	for _, p := range Parties(tlstest.ACluster(), "cluster.local", nil) {
		for _, w := range p.Wants {
			got[p.Name+" "+string(w.Domain)] = w.CertificatePolicy
		}
	}
	server := facts.CertificatePolicy{Life: 90 * 24 * time.Hour, RenewBefore: 30 * 24 * time.Hour, Algorithm: pki.ECDSAP256}
	client := facts.CertificatePolicy{Life: 30 * 24 * time.Hour, RenewBefore: 10 * 24 * time.Hour, Algorithm: pki.ECDSAP256}
	want := map[string]facts.CertificatePolicy{
		"hippo-a-0-tls server": server, "hippo-a-1-tls server": server, "hippo-pgbouncer-tls server": server,
		"hippo-a-0-tls client": client, "hippo-a-1-tls client": client, "hippo-pgbouncer-tls client": client, "hippo-operator-tls client": client,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}
