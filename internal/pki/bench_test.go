package pki

import (
	"crypto/x509"
	"fmt"
	"testing"
)

// go test -run '^$' -bench . -cpu 1 ./internal/pki prints issuances per second and core.

func BenchmarkIssueP256(b *testing.B)    { benchmarkIssue(b, ECDSAP256) }
func BenchmarkIssueP384(b *testing.B)    { benchmarkIssue(b, ECDSAP384) }
func BenchmarkIssueRSA2048(b *testing.B) { benchmarkIssue(b, RSA2048) }

// benchmarkIssue issues leaves with keys of one kind from an authority of the same kind.
func benchmarkIssue(b *testing.B, alg Algorithm) {
	r := authorityRequest("hippo server ca g1")
	r.Algorithm = alg
	a := must[*Authority](b)(NewAuthority(r))
	leaf := serverRequest(hippo, "hippo-primary", "*.hippo-pods.postgres.svc")
	leaf.Algorithm = alg
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Issue(leaf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "issuances/s")
}

func BenchmarkVerify(b *testing.B) {
	g1, g2 := newAuthority(b, "hippo server ca g1"), newAuthority(b, "hippo server ca g2")
	direct := newServer(b, g2).Chain
	for name, r := range map[string]VerifyRequest{
		"direct": serverCheck(direct, g2.Certificate),
		"bridge": serverCheck(append(direct, bridgeTo(b, g2, g1)), g1.Certificate),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseBundle(b *testing.B) {
	for _, n := range []int{1, 2, MaxCertificates} {
		var anchors []*x509.Certificate
		for i := range n {
			anchors = append(anchors, newAuthority(b, fmt.Sprintf("hippo server ca g%d", i+1)).Certificate)
		}
		text := EncodeBundle(anchors)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := ParseBundle(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFacts(b *testing.B) {
	leaf := newServer(b, newAuthority(b, "hippo server ca g1")).Leaf()
	b.ReportAllocs()
	for b.Loop() {
		_ = Facts(leaf)
	}
}

func BenchmarkRevision(b *testing.B) {
	a := newAuthority(b, "hippo server ca g1")
	pair := newServer(b, a)
	data := map[string][]byte{"tls.crt": pair.EncodeChain(), "tls.key": must[[]byte](b)(pair.EncodeKey()), "ca.crt": a.EncodeCertificate()}
	b.ReportAllocs()
	for b.Loop() {
		_ = Revision(data)
	}
}
