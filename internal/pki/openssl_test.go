package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/test/require"
)

// These tests ask the real openssl command. libpq, PostgreSQL and PgBouncer link the same library.

func needOpenSSL(t testing.TB) {
	t.Helper()
	require.Program(t, "openssl")
}

// openssl runs the command in an empty directory's stead: without the machine's configuration.
func openssl(t failer, stdin []byte, args ...string) (string, error) {
	t.Helper()
	command := exec.Command("openssl", args...)
	command.Stdin = bytes.NewReader(stdin)
	command.Env = append(os.Environ(), "OPENSSL_CONF=/dev/null", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/dev/null")
	out, err := command.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("starting openssl: %v", err)
	}
	return string(out), err
}

func mustOpenSSL(t failer, stdin []byte, args ...string) string {
	t.Helper()
	out, err := openssl(t, stdin, args...)
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// opensslVerify puts a request to "openssl verify"; nil means that it accepts.
func opensslVerify(t failer, dir string, r VerifyRequest) error {
	t.Helper()
	file := func(name string, certificates []*x509.Certificate) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, encodeCertificates(certificates), 0o600); err != nil {
			t.Fatalf("writing %s: %v", path, err)
		}
		return path
	}
	args := []string{
		"verify", "-x509_strict", "-auth_level", "2", "-no-CApath", "-no-CAstore", "-attime", fmt.Sprint(r.At.Unix()),
		"-purpose", map[Usage]string{ServerAuth: "sslserver", ClientAuth: "sslclient"}[r.Usage],
		"-CAfile", file("anchors.pem", r.Anchors),
	}
	if r.Lenient {
		args = slices.DeleteFunc(args, func(arg string) bool { return arg == "-x509_strict" })
	}
	if len(r.Chain) > 1 {
		args = append(args, "-untrusted", file("untrusted.pem", r.Chain[1:]))
	}
	if _, err := netip.ParseAddr(r.DNSName); err == nil {
		args = append(args, "-verify_ip", r.DNSName)
	} else if r.DNSName != "" {
		args = append(args, "-verify_hostname", r.DNSName)
	}
	if out, err := openssl(t, nil, append(args, file("leaf.pem", r.Chain[:1]))...); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestVerifyIsAtLeastAsStrictAsOpenSSL puts every case of TestVerify to openssl and compares
// with what the case says about it.
func TestVerifyIsAtLeastAsStrictAsOpenSSL(t *testing.T) {
	needOpenSSL(t)
	for _, v := range verdicts {
		if v.openssl == noOpensslAnswer {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			ours, theirs := Verify(r), opensslVerify(t, t.TempDir(), r)
			if ours == nil && theirs != nil {
				t.Fatalf("we accept what openssl refuses: %v", theirs)
			}
			if accepts := v.openssl == opensslAccepts || v.want == ""; accepts != (theirs == nil) {
				t.Errorf("openssl says %v; we say %v", theirs, ours)
			}
		})
	}
}

// TestRandomChainsAgainstOpenSSL mixes what may come together in a rotation: generations, bridges in both
// directions, twins and strangers, in any order and at any time. What we accept openssl accepts.
func TestRandomChainsAgainstOpenSSL(t *testing.T) {
	needOpenSSL(t)
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	twin := newAuthority(t, "hippo server ca g1")
	leaves := []*x509.Certificate{newServer(t, g1).Leaf(), newServer(t, g2).Leaf(), newServer(t, twin).Leaf(), newClient(t, g1).Leaf()}
	issuers := []*x509.Certificate{
		g1.Certificate, g2.Certificate, twin.Certificate, bridgeTo(t, g2, g1), bridgeTo(t, g1, g2),
		reissued(t, g1, ended), reissued(t, g2, identified(9)),
	}
	dir := t.TempDir()
	wantReason(t, Verify(serverCheckAnyName(leaves[0], g1)), "") // some of the draws are accepted
	rapid.Check(t, func(t *rapid.T) {
		r := VerifyRequest{
			Chain:   append([]*x509.Certificate{rapid.SampledFrom(leaves).Draw(t, "leaf")}, rapid.SliceOfN(rapid.SampledFrom(issuers), 0, 2).Draw(t, "issuers")...),
			Anchors: rapid.SliceOfN(rapid.SampledFrom(issuers), 1, 3).Draw(t, "anchors"),
			At:      epoch.Add(time.Duration(rapid.SampledFrom([]int{-1, 0, 0, 0, 60, 120}).Draw(t, "day")) * day),
			Usage:   rapid.SampledFrom([]Usage{ServerAuth, ServerAuth, ClientAuth}).Draw(t, "usage"),
		}
		if Verify(r) != nil {
			return
		}
		if err := opensslVerify(t, dir, r); err != nil {
			t.Fatalf("we accept what openssl refuses: %v", err)
		}
	})
}

// TestRandomExternalChainsAgainstOpenSSL mixes what scripts make: authorities made anew under one name, with key identifiers and
// without, renewed with their key, of version 1. What we accept from elsewhere plain openssl accepts, and crypto/x509.
func TestRandomExternalChainsAgainstOpenSSL(t *testing.T) {
	needOpenSSL(t)
	parsed := func(der []byte) *x509.Certificate { return must[*x509.Certificate](t)(x509.ParseCertificate(der)) }
	root, again, issuing, twin := forgeCA(t, "root", nil), forgeCA(t, "root", nil), newAuthority(t, "issuing"), newAuthority(t, "issuing")
	issuer := func(a, by *Authority, edits ...func(*signedPart)) *x509.Certificate {
		return parsed(remade(t, bridgeTo(t, a, by), by.Key, edits...))
	}
	blind := []func(*signedPart){without(idAuthorityKey), without(idSubjectKey), without(idKeyUsage)}
	issuers := []*x509.Certificate{
		root.Certificate, again.Certificate, parsed(remade(t, root.Certificate, root.Key, blind...)), parsed(remade(t, again.Certificate, again.Key, blind...)),
		parsed(remade(t, root.Certificate, root.Key, versionOne)), reissued(t, root, ended),
		issuing.Certificate, issuer(issuing, root), issuer(issuing, root, blind...), issuer(twin, root, blind...), issuer(issuing, again, without(idAuthorityKey)), issuer(twin, again),
	}
	var leaves []*x509.Certificate
	for _, a := range []*Authority{root, issuing} {
		leaf := forgeLeaf(t, a)[0]
		leaves = append(leaves, leaf, parsed(remade(t, leaf, a.Key, without(idAuthorityKey))), parsed(remade(t, leaf, a.Key, versionOne)))
	}
	dir := t.TempDir()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		r := VerifyRequest{
			Chain:   append([]*x509.Certificate{rapid.SampledFrom(leaves).Draw(t, "leaf")}, rapid.SliceOfN(rapid.SampledFrom(issuers), 0, 3).Draw(t, "issuers")...),
			Anchors: rapid.SliceOfN(rapid.SampledFrom(issuers[:7]), 1, 3).Draw(t, "anchors"),
			At:      epoch, Usage: ServerAuth, Lenient: true,
		}
		if Verify(r) != nil {
			return
		}
		accepted++
		if err := opensslVerify(t, dir, r); err != nil {
			t.Fatalf("we accept what openssl refuses: %v", err)
		}
		if err := goVerify(r); err != nil {
			t.Fatalf("we accept what Go refuses: %v", err)
		}
	})
	if accepted == 0 {
		t.Error("none of the draws is accepted")
	}
}

func serverCheckAnyName(leaf *x509.Certificate, a *Authority) VerifyRequest {
	return VerifyRequest{Chain: []*x509.Certificate{leaf}, Anchors: []*x509.Certificate{a.Certificate}, At: epoch, Usage: ServerAuth}
}

func TestOpenSSLReadsAuthority(t *testing.T) {
	needOpenSSL(t)
	a := newAuthority(t, "hippo server ca g1")
	wantText(t, mustOpenSSL(t, a.EncodeCertificate(), "x509", "-noout", "-text"),
		"Version: 3 (0x2)",
		"Signature Algorithm: ecdsa-with-SHA256",
		"Issuer: CN=hippo server ca g1",
		"Subject: CN=hippo server ca g1",
		"X509v3 Basic Constraints: critical\n CA:TRUE, pathlen:2",
		"X509v3 Key Usage: critical\n Certificate Sign, CRL Sign",
		"X509v3 Subject Key Identifier:\n "+colons(a.Certificate.SubjectKeyId),
	)
}

func TestOpenSSLReadsLeaf(t *testing.T) {
	needOpenSSL(t)
	a := sharedAuthority()
	pair := newServer(t, a)
	wantText(t, mustOpenSSL(t, pair.EncodeChain(), "x509", "-noout", "-text"),
		"Version: 3 (0x2)",
		"Subject: CN=hippo-primary",
		"Not Before: Mar 4 04:56:07 2030 GMT",
		"Not After : Jun 2 05:06:07 2030 GMT",
		"X509v3 Basic Constraints: critical\n CA:FALSE",
		"X509v3 Key Usage: critical\n Digital Signature\n",
		"X509v3 Extended Key Usage:\n TLS Web Server Authentication\n",
		"X509v3 Authority Key Identifier:\n "+colons(a.Certificate.SubjectKeyId),
		"DNS:*.hippo-pods.postgres.svc, DNS:hippo-primary.postgres.svc, IP Address:10.0.0.7, IP Address:2001:DB8:0:0:0:0:0:7",
	)
}

func TestOpenSSLAgreesWithFacts(t *testing.T) {
	needOpenSSL(t)
	leaf := newServer(t, sharedAuthority()).Leaf()
	facts := Facts(leaf)
	text := mustOpenSSL(t, encodeCertificates([]*x509.Certificate{leaf}), "x509", "-noout", "-serial", "-fingerprint", "-sha256", "-subject", "-nameopt", "RFC2253")
	wantText(t, text, "serial="+strings.ToUpper(facts.Serial), "subject="+facts.Subject, colons(must[[]byte](t)(hex.DecodeString(facts.Fingerprint))))
}

func TestOpenSSLChecksEveryKeyKind(t *testing.T) {
	needOpenSSL(t)
	for _, alg := range []Algorithm{ECDSAP256, ECDSAP384, RSA2048} {
		t.Run(string(alg), func(t *testing.T) {
			r := serverRequest(hippo)
			r.Algorithm = alg
			pair := must[*KeyPair](t)(sharedAuthority().Issue(r))
			key := must[[]byte](t)(pair.EncodeKey())
			wantText(t, mustOpenSSL(t, key, "pkey", "-noout", "-check"), "Key is valid")
			fromKey := mustOpenSSL(t, key, "pkey", "-pubout")
			fromLeaf := mustOpenSSL(t, pair.EncodeChain(), "x509", "-noout", "-pubkey")
			if fromKey != fromLeaf {
				t.Errorf("the key is not the leaf's:\n%s%s", fromKey, fromLeaf)
			}
		})
	}
}

// TestParseWhatOpenSSLWrites reads keys and certificates as people make them.
func TestParseWhatOpenSSLWrites(t *testing.T) {
	needOpenSSL(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile(path(name))) }

	keys := map[string]struct {
		args []string
		want Reason
	}{
		"EC PARAMETERS, then the key": {[]string{"ecparam", "-name", "prime256v1", "-genkey", "-out", path("key")}, ""},
		"EC key in PKCS#8":            {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", path("key")}, ""},
		"RSA key in PKCS#1":           {[]string{"genrsa", "-traditional", "-out", path("key"), "2048"}, ""},
		"RSA key in PKCS#8":           {[]string{"genrsa", "-out", path("key"), "2048"}, ""},
		"encrypted PKCS#8":            {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:secret", "-out", path("key")}, KeyEncrypted},
		"encrypted PKCS#1":            {[]string{"genrsa", "-traditional", "-aes256", "-passout", "pass:secret", "-out", path("key"), "2048"}, KeyEncrypted},
		"a curve that TLS lacks":      {[]string{"ecparam", "-name", "secp256k1", "-genkey", "-out", path("key")}, KeyMalformed},
		"DSA parameters":              {[]string{"ecparam", "-name", "prime256v1", "-out", path("key")}, KeyMissing},
		"X25519":                      {[]string{"genpkey", "-algorithm", "X25519", "-out", path("key")}, AlgorithmUnsupported},
	}
	for name, test := range keys {
		t.Run(name, func(t *testing.T) {
			mustOpenSSL(t, nil, test.args...)
			_, err := parseKey(read("key"))
			wantReason(t, err, test.want)
		})
	}

	t.Run("a self-signed CA with text before it", func(t *testing.T) {
		mustOpenSSL(t, []byte(requestConfig), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "/dev/stdin",
			"-extensions", "ca", "-subj", "/CN=by hand", "-keyout", path("ca.key"), "-out", path("ca.crt"))
		text := mustOpenSSL(t, nil, "x509", "-in", path("ca.crt"), "-text")
		a := must[*Authority](t)(ParseAuthority([]byte(text), read("ca.key")))
		r := serverRequest(hippo)
		r.NotBefore, r.NotAfter = a.Certificate.NotBefore, a.Certificate.NotAfter
		check := serverCheck(must[*KeyPair](t)(a.Issue(r)).Chain, a.Certificate)
		check.At = a.Certificate.NotBefore
		wantReason(t, Verify(check), "")
		if err := opensslVerify(t, t.TempDir(), check); err != nil {
			t.Errorf("openssl refuses a leaf of its own authority: %v", err)
		}
	})
	t.Run("a CA that signed itself with SHA-1, and a leaf that it signed with SHA-1", func(t *testing.T) {
		mustOpenSSL(t, []byte(requestConfig), "req", "-x509", "-sha1", "-newkey", "rsa:2048", "-nodes", "-config", "/dev/stdin",
			"-extensions", "ca", "-subj", "/CN=old", "-keyout", path("old.key"), "-out", path("old.crt"))
		a := must[*Authority](t)(ParseAuthority(read("old.crt"), read("old.key")))
		mustOpenSSL(t, []byte(requestConfig), "req", "-new", "-newkey", "rsa:2048", "-nodes", "-config", "/dev/stdin",
			"-subj", "/CN=leaf", "-keyout", path("leaf.key"), "-out", path("leaf.csr"))
		for digest, want := range map[string]Reason{"-sha1": AlgorithmUnsupported, "-sha256": ""} {
			mustOpenSSL(t, []byte(requestConfig), "x509", "-req", digest, "-in", path("leaf.csr"), "-CA", path("old.crt"), "-CAkey", path("old.key"),
				"-set_serial", "7", "-extfile", "/dev/stdin", "-extensions", "leaf", "-out", path("leaf.crt"))
			pair := must[*KeyPair](t)(ParseKeyPair(read("leaf.crt"), read("leaf.key")))
			check := serverCheck(pair.Chain, a.Certificate)
			check.At = pair.Leaf().NotBefore
			wantReason(t, Verify(check), want)
			if err := opensslVerify(t, t.TempDir(), check); (err == nil) != (want == "") {
				t.Errorf("%s: openssl says %v", digest, err)
			}
		}
	})
	t.Run("a CA without key usage", func(t *testing.T) {
		mustOpenSSL(t, []byte(requestConfig), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-config", "/dev/stdin",
			"-extensions", "sloppy", "-subj", "/CN=sloppy", "-keyout", path("sloppy.key"), "-out", path("sloppy.crt"))
		_, err := ParseAuthority(read("sloppy.crt"), read("sloppy.key"))
		wantReason(t, err, NotCA)
	})
}

const requestConfig = `[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:hippo-primary.postgres.svc
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[sloppy]
basicConstraints = CA:true
`

// wantText looks for each piece after folding runs of blanks and "CN = x" to "CN=x", which vary between versions.
func wantText(t failer, text string, pieces ...string) {
	t.Helper()
	var folded strings.Builder
	for line := range strings.Lines(text) {
		folded.WriteString(" " + strings.Join(strings.Fields(line), " ") + "\n")
	}
	got := strings.ReplaceAll(folded.String(), " = ", "=")
	for _, piece := range pieces {
		if !strings.Contains(got, piece) {
			t.Fatalf("%q is missing in:\n%s", piece, got)
		}
	}
}

// colons writes bytes as openssl does: "AB:CD".
func colons(b []byte) string {
	return strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf("% X", b)), " ", ":")
}
