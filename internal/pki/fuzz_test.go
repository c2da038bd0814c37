package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

// The fuzz targets hold for any bytes: no panic, an error always has a Reason, and what is read can be
// written and read again as the same. "go test" runs the seeds alone.

// seeds are damaged in the ways in which people damage files.
func seeds(whole []byte) [][]byte {
	text := string(whole)
	return [][]byte{
		nil, whole, append(bytes.Clone(whole), whole...),
		[]byte(strings.ReplaceAll(text, "\n", "\r\n")),
		[]byte("a comment\n" + text + "\nanother"),
		whole[:len(whole)/2], whole[len(whole)/2:], whole[:len(whole)-1],
		[]byte(strings.Replace(text, "A", "!", 1)),
		[]byte(strings.TrimSpace(text) + text),
		[]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"),
		[]byte("-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----\n"),
		[]byte("-----BEGIN"), []byte("-----END"), {0}, {0xff, 0xfe}, []byte("\ufeff" + text),
	}
}

func wantSomeReason(t *testing.T, err error) {
	t.Helper()
	if err != nil && ReasonOf(err) == "" {
		t.Fatalf("an error without a reason: %v", err)
	}
}

func FuzzParseBundle(f *testing.F) {
	a := newAuthority(f, "hippo server ca g1")
	for _, seed := range seeds(EncodeBundle([]*x509.Certificate{a.Certificate, newAuthority(f, "hippo server ca g2").Certificate})) {
		f.Add(seed)
	}
	f.Add(newServer(f, a).EncodeChain())
	f.Fuzz(func(t *testing.T, text []byte) {
		anchors, err := ParseBundle(text)
		wantSomeReason(t, err)
		if err != nil {
			return
		}
		if n := bytes.Count(text, []byte(beginMarker)); n != len(anchors) {
			t.Fatalf("%d blocks begin, %d are read", n, len(anchors))
		}
		encoded := EncodeBundle(anchors)
		again := must[[]*x509.Certificate](t)(ParseBundle(encoded))
		if !bytes.Equal(encoded, EncodeBundle(again)) {
			t.Fatal("written and read again it is another bundle")
		}
		for _, anchor := range anchors {
			wantSomeReason(t, Verify(serverCheck([]*x509.Certificate{anchor}, anchors...)))
			_ = Facts(anchor)
		}
	})
}

func FuzzParseKeyPair(f *testing.F) {
	pair := newServer(f, newAuthority(f, "hippo server ca g1"))
	chain, key := pair.EncodeChain(), must[[]byte](f)(pair.EncodeKey())
	for _, seed := range seeds(chain) {
		f.Add(seed, key)
	}
	for _, seed := range seeds(key) {
		f.Add(chain, seed)
	}
	f.Add(key, chain)
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		pair, err := ParseKeyPair(chain, key)
		wantSomeReason(t, err)
		if err != nil {
			return
		}
		samePair(t, pair, must[*KeyPair](t)(ParseKeyPair(pair.EncodeChain(), must[[]byte](t)(pair.EncodeKey()))))
		wantSomeReason(t, Verify(serverCheck(pair.Chain)))
		if facts := Facts(pair.Leaf()); facts.IsCA || !facts.Equal(Facts(pair.Leaf())) {
			t.Fatalf("facts %+v", facts)
		}
	})
}

func FuzzParseAuthority(f *testing.F) {
	a := newAuthority(f, "hippo server ca g1")
	certificate, key := a.EncodeCertificate(), must[[]byte](f)(a.EncodeKey())
	for _, seed := range seeds(certificate) {
		f.Add(seed, key)
	}
	for _, seed := range seeds(key) {
		f.Add(certificate, seed)
	}
	f.Fuzz(func(t *testing.T, certificate, key []byte) {
		a, err := ParseAuthority(certificate, key)
		wantSomeReason(t, err)
		if err != nil {
			return
		}
		sameAuthority(t, a, must[*Authority](t)(ParseAuthority(a.EncodeCertificate(), must[[]byte](t)(a.EncodeKey()))))
	})
}

func FuzzCheckDNSName(f *testing.F) {
	for _, seed := range []string{"", "a.example.com", "*.example.com", "a..b", "10.0.0.1", "a.", strings.Repeat("a", 300), "ü", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckDNSName(name)
		wantSomeReason(t, err)
		if err == nil && !matchesPattern(name, name) {
			t.Fatalf("%q does not match itself", name)
		}
	})
}

// FuzzVerify presents any chain to any verifier. What is accepted crypto/x509 accepts too.
func FuzzVerify(f *testing.F) {
	g1, g2 := newAuthority(f, "hippo server ca g1"), newAuthority(f, "hippo server ca g2")
	chain := append(newServer(f, g2).Chain, bridgeTo(f, g2, g1), bridgeTo(f, g1, g2))
	bundle := EncodeBundle([]*x509.Certificate{g1.Certificate, g2.Certificate})
	f.Add(encodeCertificates(chain), bundle)
	f.Add(encodeCertificates(chain[:2]), g1.EncodeCertificate())
	f.Add(encodeCertificates(chain[:1]), encodeCertificates(chain[1:2]))
	for _, edit := range []func(*signedPart){
		without(idAuthorityKey), critical(idBasicConstraints, false), twice(idSubjectAltName), versionOne, withoutSubject,
		extension(idNetscapeType, false, 3, 2, 7, 0x80), extension(idAuthorityKey, false, 0x30, 0), pointsTo(f, g2.Certificate, g1.Certificate.SerialNumber),
	} {
		f.Add(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: remade(f, chain[0], g2.Key, edit)}), bundle)
	}
	for _, seed := range seeds(encodeCertificates(chain)) {
		f.Add(seed, bundle)
	}
	f.Fuzz(func(t *testing.T, chain, bundle []byte) {
		presented, err := parseCertificates(chain)
		wantSomeReason(t, err)
		anchors, errAnchors := parseCertificates(bundle)
		wantSomeReason(t, errAnchors)
		if err != nil || errAnchors != nil {
			return
		}
		for _, usage := range []Usage{ServerAuth, ClientAuth} {
			r := VerifyRequest{Chain: presented, Anchors: anchors, At: epoch, Usage: usage}
			err := Verify(r)
			wantSomeReason(t, err)
			if err == nil && goVerify(r) != nil {
				t.Fatalf("accepted as %s, and crypto/x509 says %v", usage, goVerify(r))
			}
		}
	})
}
