package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

func TestNewAuthorityIsWhatStrictVerifiersWant(t *testing.T) {
	a := newAuthority(t, "hippo server ca g1")
	c := a.Certificate

	if c.Version != 3 || !c.BasicConstraintsValid || !c.IsCA {
		t.Errorf("version %d, CA %v: want a v3 CA", c.Version, c.IsCA)
	}
	if c.MaxPathLen != 2 {
		t.Errorf("path length %d, want 2: room for two bridges and no more", c.MaxPathLen)
	}
	if want := x509.KeyUsageCertSign | x509.KeyUsageCRLSign; c.KeyUsage != want {
		t.Errorf("key usage %b, want %b", c.KeyUsage, want)
	}
	if len(c.ExtKeyUsage) != 0 {
		t.Errorf("extended key usage %v: an authority is not restricted", c.ExtKeyUsage)
	}
	if c.Subject.String() != "CN=hippo server ca g1" || c.Issuer.String() != c.Subject.String() {
		t.Errorf("subject %s, issuer %s", c.Subject, c.Issuer)
	}
	if len(c.SubjectKeyId) != 20 || !bytes.Equal(c.SubjectKeyId, c.AuthorityKeyId) {
		t.Errorf("subject key identifier %x, authority key identifier %x", c.SubjectKeyId, c.AuthorityKeyId)
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		t.Errorf("not self-signed: %v", err)
	}
	if !sameKey(c, a.Key) {
		t.Error("the key is not the certificate's")
	}
}

func TestNewAuthorityKeepsWholeSecondsInUTC(t *testing.T) {
	r := authorityRequest("hippo server ca g1")
	zone := time.FixedZone("somewhere", -5*3600)
	r.NotBefore = time.Date(2030, 1, 1, 0, 0, 0, 999_999_999, zone)
	r.NotAfter = time.Date(2060, 1, 1, 0, 0, 0, 1, zone) // after 2050: another ASN.1 type
	a := must[*Authority](t)(NewAuthority(r))
	if want := time.Date(2030, 1, 1, 5, 0, 0, 0, time.UTC); !a.Certificate.NotBefore.Equal(want) {
		t.Errorf("starts %s, want %s", a.Certificate.NotBefore, want)
	}
	if want := time.Date(2060, 1, 1, 5, 0, 0, 0, time.UTC); !a.Certificate.NotAfter.Equal(want) {
		t.Errorf("ends %s, want %s", a.Certificate.NotAfter, want)
	}
}

func TestNewAuthorityRefuses(t *testing.T) {
	edit := func(f func(*AuthorityRequest)) AuthorityRequest {
		r := authorityRequest("hippo server ca g1")
		f(&r)
		return r
	}
	tests := map[string]struct {
		request AuthorityRequest
		want    Reason
	}{
		"no name":               {edit(func(r *AuthorityRequest) { r.CommonName = "" }), NameMissing},
		"65 characters":         {edit(func(r *AuthorityRequest) { r.CommonName = strings.Repeat("x", 65) }), NameMalformed},
		"a NUL in the name":     {edit(func(r *AuthorityRequest) { r.CommonName = "hippo\x00" }), NameMalformed},
		"a line in the name":    {edit(func(r *AuthorityRequest) { r.CommonName = "hippo\nCN=evil" }), NameMalformed},
		"not UTF-8":             {edit(func(r *AuthorityRequest) { r.CommonName = "hippo\xff" }), NameMalformed},
		"ends before it starts": {edit(func(r *AuthorityRequest) { r.NotAfter = r.NotBefore.Add(-time.Second) }), ValidityMalformed},
		"ends when it starts":   {edit(func(r *AuthorityRequest) { r.NotAfter = r.NotBefore.Add(999 * time.Millisecond) }), ValidityMalformed},
		"ends in year 10000":    {edit(func(r *AuthorityRequest) { r.NotAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), ValidityMalformed},
		"unknown algorithm":     {edit(func(r *AuthorityRequest) { r.Algorithm = "DSA" }), AlgorithmUnsupported},
		"Ed25519":               {edit(func(r *AuthorityRequest) { r.Algorithm = "Ed25519" }), AlgorithmUnsupported},
		"another case":          {edit(func(r *AuthorityRequest) { r.Algorithm = "ecdsa-p256" }), AlgorithmUnsupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := NewAuthority(test.request)
			wantReason(t, err, test.want)
			if a != nil {
				t.Error("an authority comes with the error")
			}
		})
	}
}

func TestCommonNameMayHave64Characters(t *testing.T) {
	for _, name := range []string{strings.Repeat("x", 64), strings.Repeat("ü", 64)} {
		a := newAuthority(t, name)
		if got := a.Certificate.Subject.CommonName; got != name {
			t.Errorf("common name %q, want %q", got, name)
		}
	}
}

func TestIssuedServerLeaf(t *testing.T) {
	a := sharedAuthority()
	r := serverRequest("b.example.com", "A.example.com", "a.example.com", "*.pods.example.com")
	r.IPAddresses = []netip.Addr{
		netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("::1"),
	}
	pair := must[*KeyPair](t)(a.Issue(r))
	leaf := pair.Leaf()

	if len(pair.Chain) != 1 || leaf != pair.Chain[0] {
		t.Fatalf("chain of %d, want the leaf alone", len(pair.Chain))
	}
	if diff := cmp.Diff([]string{"*.pods.example.com", "a.example.com", "b.example.com"}, leaf.DNSNames); diff != "" {
		t.Errorf("DNS names (-want +got):\n%s", diff)
	}
	var ips []string
	for _, ip := range leaf.IPAddresses {
		ips = append(ips, ip.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.2", "10.0.0.10", "::1"}, ips); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("CA %v, key usage %b", leaf.IsCA, leaf.KeyUsage)
	}
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, leaf.ExtKeyUsage); diff != "" {
		t.Errorf("extended key usage (-want +got):\n%s", diff)
	}
	if !bytes.Equal(leaf.AuthorityKeyId, a.Certificate.SubjectKeyId) || len(leaf.SubjectKeyId) != 20 {
		t.Errorf("authority key identifier %x, subject key identifier %x", leaf.AuthorityKeyId, leaf.SubjectKeyId)
	}
	if !bytes.Equal(leaf.RawIssuer, a.Certificate.RawSubject) {
		t.Errorf("issuer %s, want %s", leaf.Issuer, a.Certificate.Subject)
	}
	if !sameKey(leaf, pair.Key) {
		t.Error("the key is not the leaf's")
	}
}

func TestIssuedClientLeafCarriesTheRole(t *testing.T) {
	leaf := newClient(t, sharedAuthority()).Leaf()
	if leaf.Subject.CommonName != "_replication" || len(leaf.DNSNames) != 0 || len(leaf.IPAddresses) != 0 {
		t.Errorf("common name %q, names %q, addresses %v", leaf.Subject.CommonName, leaf.DNSNames, leaf.IPAddresses)
	}
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage); diff != "" {
		t.Errorf("extended key usage (-want +got):\n%s", diff)
	}
}

func TestServerLeafWithoutCommonNameHasCriticalNames(t *testing.T) {
	r := serverRequest("a.example.com")
	r.CommonName = ""
	leaf := must[*KeyPair](t)(sharedAuthority().Issue(r)).Leaf()
	for _, e := range leaf.Extensions {
		if e.Id.String() == "2.5.29.17" && e.Critical {
			return
		}
	}
	t.Error("with an empty subject, the alternative names must be critical (RFC 5280 section 4.2.1.6)")
}

func TestIssueRefuses(t *testing.T) {
	edit := func(f func(*LeafRequest)) LeafRequest {
		r := serverRequest(hippo)
		f(&r)
		return r
	}
	end := sharedAuthority().Certificate.NotAfter
	tests := map[string]struct {
		request LeafRequest
		want    Reason
	}{
		"no usage":              {edit(func(r *LeafRequest) { r.Usage = 0 }), UsageMissing},
		"both usages":           {edit(func(r *LeafRequest) { r.Usage = ServerAuth | ClientAuth }), UsageMissing},
		"server without a name": {edit(func(r *LeafRequest) { r.DNSNames = nil }), NameMissing},
		"client without a role": {edit(func(r *LeafRequest) { r.Usage, r.CommonName = ClientAuth, "" }), NameMissing},
		"common name too long":  {edit(func(r *LeafRequest) { r.CommonName = strings.Repeat("x", 65) }), NameMalformed},
		"trailing dot":          {edit(func(r *LeafRequest) { r.DNSNames = []string{hippo, hippo + "."} }), NameMalformed},
		"address as a name":     {edit(func(r *LeafRequest) { r.DNSNames = []string{"10.0.0.1"} }), NameMalformed},
		"no address":            {edit(func(r *LeafRequest) { r.IPAddresses = []netip.Addr{{}} }), NameMalformed},
		"address with a zone":   {edit(func(r *LeafRequest) { r.IPAddresses = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} }), NameMalformed},
		"ends before it starts": {edit(func(r *LeafRequest) { r.NotAfter = r.NotBefore }), ValidityMalformed},
		"a second too long":     {edit(func(r *LeafRequest) { r.NotAfter = end.Add(time.Second) }), LeafOutlivesAuthority},
		"no validity at all":    {edit(func(r *LeafRequest) { r.NotBefore, r.NotAfter = time.Time{}, time.Time{} }), ValidityMalformed},
		"unknown algorithm":     {edit(func(r *LeafRequest) { r.Algorithm = "RSA-1024" }), AlgorithmUnsupported},
		"Ed25519":               {edit(func(r *LeafRequest) { r.Algorithm = "Ed25519" }), AlgorithmUnsupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pair, err := sharedAuthority().Issue(test.request)
			wantReason(t, err, test.want)
			if pair != nil {
				t.Error("a key pair comes with the error")
			}
		})
	}
}

func TestLeafMayEndWithItsAuthority(t *testing.T) {
	a := sharedAuthority()
	r := serverRequest(hippo)
	r.NotAfter = a.Certificate.NotAfter.Add(999 * time.Millisecond) // cut to the same second
	leaf := must[*KeyPair](t)(a.Issue(r)).Leaf()
	if !leaf.NotAfter.Equal(a.Certificate.NotAfter) {
		t.Errorf("leaf ends %s, authority %s", leaf.NotAfter, a.Certificate.NotAfter)
	}
}

func TestIssueWithTheWrongKeyIsAnErrorAndNoCertificate(t *testing.T) {
	mixed := &Authority{Certificate: sharedAuthority().Certificate, Key: pkitest.ECKey()}
	if pair, err := mixed.Issue(serverRequest(hippo)); err == nil || pair != nil {
		t.Errorf("pair %v, error %v: want a refusal", pair, err)
	}
}

func TestEveryIssuanceHasItsOwnKeyAndSerial(t *testing.T) {
	const n = 50
	keys, serials := map[string]bool{}, map[string]bool{}
	for range n {
		leaf := newServer(t, sharedAuthority()).Leaf()
		keys[hex.EncodeToString(leaf.RawSubjectPublicKeyInfo)] = true
		serials[leaf.SerialNumber.String()] = true
	}
	if len(keys) != n || len(serials) != n {
		t.Errorf("%d keys and %d serials of %d leaves", len(keys), len(serials), n)
	}
}

func TestSerialsFillTwentyOctetsAndVaryInAllOthers(t *testing.T) {
	and, or := newSerial(), newSerial()
	for range 500 {
		serial := newSerial()
		if serial.Sign() <= 0 || serial.BitLen() != 159 {
			t.Fatalf("serial %x has %d bits", serial, serial.BitLen())
		}
		and.And(and, serial)
		or.Or(or, serial)
	}
	// After 500 draws each random bit was 0 and 1 at least once, but for a chance of 2^-491.
	if and.BitLen() != 159 || and.TrailingZeroBits() != 158 {
		t.Errorf("bits that are always set: %x", and)
	}
	if all := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1)); or.Cmp(all) != 0 {
		t.Errorf("bits that are never set: %x", new(big.Int).Xor(or, all))
	}
}

func TestIssueInParallel(t *testing.T) {
	a := sharedAuthority()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			pair, err := a.Issue(serverRequest(hippo))
			if err == nil {
				err = Verify(serverCheck(pair.Chain, a.Certificate))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestHandshake has Go's TLS look at what is issued, in both directions, in every algorithm.
func TestHandshake(t *testing.T) {
	for _, alg := range []Algorithm{ECDSAP256, ECDSAP384, RSA2048} {
		t.Run(string(alg), func(t *testing.T) {
			r := authorityRequest("hippo server ca g1")
			r.Algorithm = alg
			servers := must[*Authority](t)(NewAuthority(r))
			clients := newAuthority(t, "hippo client ca g1")
			leaf := serverRequest(hippo)
			leaf.Algorithm = alg
			server := must[*KeyPair](t)(servers.Issue(leaf))
			client := newClient(t, clients)

			if err := handshake(t, server, client, servers.Certificate, clients.Certificate); err != nil {
				t.Errorf("both trust each other: %v", err)
			}
			if err := handshake(t, server, client, clients.Certificate, clients.Certificate); err == nil {
				t.Error("a client that trusts another authority accepts the server")
			}
			if err := handshake(t, server, client, servers.Certificate, servers.Certificate); err == nil {
				t.Error("a server that trusts another authority accepts the client")
			}
			if err := handshake(t, client, client, clients.Certificate, clients.Certificate); err == nil {
				t.Error("a client's leaf passes as a server's")
			}
			if err := handshake(t, server, server, servers.Certificate, servers.Certificate); err == nil {
				t.Error("a server's leaf passes as a client's")
			}
		})
	}
}

// TestHandshakeThroughBridge shows the room that part 2 needs: the authority of the old generation signs the
// key of the new one, and verifiers with either anchor or both accept the new leaf.
func TestHandshakeThroughBridge(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	clients := newAuthority(t, "hippo client ca g1")
	server, client := newServer(t, g2), newClient(t, clients)
	if err := handshake(t, server, client, g1.Certificate, clients.Certificate); err == nil {
		t.Fatal("without the bridge an old-only client accepts the new leaf")
	}
	server.Chain = append(server.Chain, bridgeTo(t, g2, g1))
	for name, anchor := range map[string]*x509.Certificate{"old only": g1.Certificate, "new only": g2.Certificate} {
		if err := handshake(t, server, client, anchor, clients.Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// handshake returns the first error of either end; each sends one byte, since under TLS 1.3 a refused client
// hears of it only then.
func handshake(t *testing.T, server, client *KeyPair, clientTrusts, serverTrusts *x509.Certificate) error {
	t.Helper()
	now := func() time.Time { return epoch }
	serverEnd, clientEnd := net.Pipe()
	s := tls.Server(serverEnd, &tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(serverTrusts), Time: now,
	})
	c := tls.Client(clientEnd, &tls.Config{
		Certificates: []tls.Certificate{client.TLS()}, RootCAs: pool(clientTrusts), ServerName: hippo, Time: now,
	})
	served := make(chan error, 1)
	go func() {
		defer serverEnd.Close()
		_, err := s.Write([]byte{1})
		served <- err
	}()
	_, err := io.ReadFull(c, make([]byte, 1))
	_ = clientEnd.Close()
	return errors.Join(<-served, err)
}

func pool(certificates ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certificates {
		p.AddCert(c)
	}
	return p
}
