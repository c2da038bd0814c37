package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

func anchorsOf(authorities ...*Authority) []*x509.Certificate {
	var anchors []*x509.Certificate
	for _, a := range authorities {
		anchors = append(anchors, a.Certificate)
	}
	return anchors
}

// block wraps bytes in a PEM block of any kind.
func block(kind string, der []byte, headers ...string) string {
	b := &pem.Block{Type: kind, Bytes: der, Headers: map[string]string{}}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		b.Headers[name] = value
	}
	return string(pem.EncodeToMemory(b))
}

func TestParseBundle(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	one, two := string(g1.EncodeCertificate()), string(g2.EncodeCertificate())
	leaf := newServer(t, g1)
	key := string(must[[]byte](t)(g1.EncodeKey()))
	cut := func(s string, n int) string { return s[:len(s)-n] }

	tests := map[string]struct {
		text string
		want Reason
		n    int
	}{
		"one":                              {one, "", 1},
		"two":                              {one + two, "", 2},
		"in the other order":               {two + one, "", 2},
		"twice the same":                   {one + one, "", 2},
		"blank lines":                      {"\n\n" + one + "\n \n" + two + "\n\n", "", 2},
		"CRLF":                             {strings.ReplaceAll(one+two, "\n", "\r\n"), "", 2},
		"no last line break":               {cut(one+two, 1), "", 2},
		"comments":                         {"hippo, generation 1\n=====\n" + one + "# the next -- one: ü\n" + two + "the end", "", 2},
		"a bridge":                         {one + string(encodeCertificates([]*x509.Certificate{bridgeTo(t, g2, g1)})), "", 2},
		"nothing":                          {"", NoCertificate, 0},
		"blanks":                           {" \r\n\t\n", NoCertificate, 0},
		"words":                            {"this is no certificate", NotPEM, 0},
		"DER":                              {string(g1.Certificate.Raw), NotPEM, 0},
		"a NUL":                            {one + "\x00", TrailingGarbage, 0},
		"DER behind PEM":                   {one + string(g2.Certificate.Raw), TrailingGarbage, 0},
		"a key":                            {one + key, UnexpectedBlock, 0},
		"a key first":                      {key + one, UnexpectedBlock, 0},
		"a revocation list":                {one + block("X509 CRL", []byte{48, 0}), UnexpectedBlock, 0},
		"headers in a block":               {block("CERTIFICATE", g1.Certificate.Raw, "Proc-Type: 4,CLEAR"), UnexpectedBlock, 0},
		"an empty block":                   {one + "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", CertificateMalformed, 0},
		"DER garbage in a block":           {one + block("CERTIFICATE", []byte("garbage")), CertificateMalformed, 0},
		"a byte too much in a block":       {block("CERTIFICATE", append(bytes.Clone(g1.Certificate.Raw), 0)), CertificateMalformed, 0},
		"a byte too few in a block":        {block("CERTIFICATE", g1.Certificate.Raw[:len(g1.Certificate.Raw)-1]), CertificateMalformed, 0},
		"a leaf":                           {one + string(leaf.EncodeChain()), NotCA, 0},
		"the last line is missing":         {cut(one+two, len("-----END CERTIFICATE-----\n")), NotPEM, 0},
		"cut in the last base64 line":      {cut(one+two, 40), NotPEM, 0},
		"cut in the last marker":           {cut(one+two, 3), NotPEM, 0},
		"cut in the next marker":           {one + "-----BEG", TrailingGarbage, 0},
		"cut after the next marker":        {one + "-----BEGIN CERTIFICATE-----\n", NotPEM, 0},
		"a block cut, then a whole one":    {cut(one, 60) + "\n" + two, NotPEM, 0},
		"a begin lost, then a whole one":   {one[len("-----BEGIN CERTIFICATE-----\n"):] + two, TrailingGarbage, 0},
		"a begin misspelt":                 {strings.Replace(one, "BEGIN", "BEGUN", 1) + two, TrailingGarbage, 0},
		"an end misspelt":                  {strings.Replace(one, "END", "AND", 1) + two, NotPEM, 0},
		"an end of another kind":           {strings.Replace(one, "END CERTIFICATE", "END CERTIFICATES", 1) + two, NotPEM, 0},
		"a bad letter":                     {strings.Replace(one, "MII", "M!I", 1) + two, NotPEM, 0},
		"indented, as in a wrong YAML":     {"  " + strings.ReplaceAll(one, "\n", "\n  "), NotPEM, 0},
		"two files joined without a break": {cut(one, 1) + two, NotPEM, 0},
		"a byte order mark":                {"\ufeff" + one, NotPEM, 0},
		"a second end":                     {one + "-----END CERTIFICATE-----\n", TrailingGarbage, 0},
		"an end within a line":             {one + "AAAA-----END CERTIFICATE-----\n" + two, TrailingGarbage, 0},
		"a ruler that looks like a marker": {one + "------------------\n" + two, TrailingGarbage, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			anchors, err := ParseBundle([]byte(test.text))
			wantReason(t, err, test.want)
			if len(anchors) != test.n {
				t.Errorf("%d certificates, want %d", len(anchors), test.n)
			}
		})
	}
}

func TestParseBundleKeepsTheOrder(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	got := must[[]*x509.Certificate](t)(ParseBundle(encodeCertificates(anchorsOf(g2, g1))))
	if !slices.EqualFunc(got, anchorsOf(g2, g1), (*x509.Certificate).Equal) {
		t.Error("the order has changed")
	}
}

func TestParseBundleNamesTheCertificate(t *testing.T) {
	g1 := newAuthority(t, "hippo server ca g1")
	_, err := ParseBundle(append(g1.EncodeCertificate(), newServer(t, g1).EncodeChain()...))
	if want := "certificate 2 of the bundle (CN=hippo-primary) is no CA: leave only CA certificates in the bundle"; err == nil || err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
}

func TestParseBundleTellsWhatASloppyCALacks(t *testing.T) {
	sloppy := forgeCA(t, "sloppy", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	_, err := ParseBundle(sloppy.EncodeCertificate())
	wantReason(t, err, NotCA)
	if want := "certificate 1 of the bundle (CN=sloppy) is a CA without key usage keyCertSign: issue it with key usage keyCertSign"; err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
}

func TestLimits(t *testing.T) {
	one := sharedAuthority().EncodeCertificate()
	comment := func(n int) []byte {
		return append(bytes.Repeat([]byte("#"), n-len(one)-1), append([]byte("\n"), one...)...)
	}
	tests := map[string]struct {
		text []byte
		want Reason
	}{
		"100 certificates": {bytes.Repeat(one, MaxCertificates), ""},
		"101 certificates": {bytes.Repeat(one, MaxCertificates+1), TooLarge},
		"1 MiB":            {comment(MaxInputBytes), ""},
		"1 MiB + 1":        {comment(MaxInputBytes + 1), TooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseBundle(test.text)
			wantReason(t, err, test.want)
		})
	}
	t.Run("a key of 1 MiB + 1", func(t *testing.T) {
		_, err := parseKey(make([]byte, MaxInputBytes+1))
		wantReason(t, err, TooLarge)
	})
}

func TestParseAuthority(t *testing.T) {
	a := newAuthority(t, "hippo server ca g1")
	certificate, key := a.EncodeCertificate(), must[[]byte](t)(a.EncodeKey())
	encoded := func(c *x509.Certificate) []byte { return encodeCertificates([]*x509.Certificate{c}) }
	keyOf := func(k crypto.Signer) []byte { return must[[]byte](t)(encodeKey(k)) }
	leaf := newServer(t, a)
	child := forgeCA(t, "child", a)
	edKey := pkitest.Ed25519Key()
	weakKey := pkitest.RSAKey(1024)
	mute := forgeCA(t, "mute", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })

	tests := map[string]struct {
		certificate, key []byte
		want             Reason
	}{
		"as written":             {certificate, key, ""},
		"no certificate":         {nil, key, NoCertificate},
		"no key":                 {certificate, nil, KeyMissing},
		"a certificate as key":   {certificate, certificate, KeyMissing},
		"another's key":          {certificate, keyOf(pkitest.ECKey()), KeyMismatch},
		"a key of another kind":  {certificate, keyOf(pkitest.RSAKey(2048)), KeyMismatch},
		"two certificates":       {append(bytes.Clone(certificate), certificate...), key, UnexpectedBlock},
		"a leaf":                 {leaf.EncodeChain(), must[[]byte](t)(leaf.EncodeKey()), NotCA},
		"a CA that may not sign": {encoded(mute.Certificate), keyOf(mute.Key), NotCA},
		"an intermediate":        {encoded(child.Certificate), keyOf(child.Key), NotSelfSigned},
		"a forged self":          {encoded(withBrokenSignature(t, a.Certificate)), key, NotSelfSigned},
		"Ed25519":                {encoded(forge(t, caTemplate("ed"), edKey, nil)), keyOf(edKey), AlgorithmUnsupported},
		"1024 bits":              {encoded(forge(t, caTemplate("weak"), weakKey, nil)), keyOf(weakKey), AlgorithmUnsupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAuthority(test.certificate, test.key)
			wantReason(t, err, test.want)
			if (got == nil) != (err != nil) {
				t.Errorf("authority %v with error %v", got, err)
			}
		})
	}
}

func TestParseKeyPair(t *testing.T) {
	a := newAuthority(t, "hippo server ca g1")
	pair := newServer(t, a)
	chain, key := pair.EncodeChain(), must[[]byte](t)(pair.EncodeKey())
	keyOf := func(k crypto.Signer) []byte { return must[[]byte](t)(encodeKey(k)) }
	encoded := func(c ...*x509.Certificate) []byte { return encodeCertificates(c) }
	edKey := pkitest.Ed25519Key()
	ed := func(usage x509.ExtKeyUsage) []byte {
		return encoded(forge(t, leafTemplate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{usage} }), edKey, a))
	}
	edAuthority := &Authority{Certificate: forge(t, caTemplate("ed"), edKey, nil), Key: edKey}
	signedByEd := pkitest.ECKey()
	weak, p224 := pkitest.RSAKey(1024), pkitest.ECKeyOn(elliptic.P224())
	der := must[[]byte](t)(x509.MarshalECPrivateKey(pair.Key.(*ecdsa.PrivateKey)))

	tests := map[string]struct {
		chain, key []byte
		want       Reason
	}{
		"as written":                     {chain, key, ""},
		"with its authority":             {append(bytes.Clone(chain), a.EncodeCertificate()...), key, ""},
		"key in SEC 1":                   {chain, []byte(block("EC PRIVATE KEY", der)), ""},
		"key behind a comment":           {chain, append([]byte("Bag Attributes\n"), key...), ""},
		"no chain":                       {nil, key, NoCertificate},
		"no key":                         {chain, nil, KeyMissing},
		"blank key":                      {chain, []byte("\n"), KeyMissing},
		"words for a key":                {chain, []byte("secret"), NotPEM},
		"chain and key exchanged":        {key, chain, UnexpectedBlock},
		"two keys":                       {chain, append(bytes.Clone(key), key...), UnexpectedBlock},
		"a key cut":                      {chain, key[:len(key)-30], NotPEM},
		"garbage in the key":             {chain, []byte(block("PRIVATE KEY", []byte("garbage"))), KeyMalformed},
		"a key in the wrong block":       {chain, []byte(block("RSA PRIVATE KEY", der)), KeyMalformed},
		"encrypted PKCS#8":               {chain, []byte(block("ENCRYPTED PRIVATE KEY", der)), KeyEncrypted},
		"encrypted SEC 1":                {chain, []byte(block("EC PRIVATE KEY", der, "Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-256-CBC,00")), KeyEncrypted},
		"public key":                     {chain, []byte(block("PUBLIC KEY", der)), KeyMissing},
		"another's key":                  {chain, keyOf(pkitest.ECKey()), KeyMismatch},
		"authority first":                {append(a.EncodeCertificate(), chain...), key, KeyMismatch},
		"an authority":                   {a.EncodeCertificate(), must[[]byte](t)(a.EncodeKey()), IsCA},
		"an Ed25519 server":              {ed(x509.ExtKeyUsageServerAuth), keyOf(edKey), AlgorithmUnsupported},
		"an Ed25519 client":              {ed(x509.ExtKeyUsageClientAuth), keyOf(edKey), ""},
		"a server signed with Ed25519":   {encoded(forge(t, leafTemplate(), signedByEd, edAuthority)), keyOf(signedByEd), AlgorithmUnsupported},
		"a weak key":                     {encoded(forge(t, leafTemplate(), weak, a)), keyOf(weak), AlgorithmUnsupported},
		"a curve that TLS does not know": {encoded(forge(t, leafTemplate(), p224, a)), keyOf(p224), AlgorithmUnsupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseKeyPair(test.chain, test.key)
			wantReason(t, err, test.want)
			if (got == nil) != (err != nil) {
				t.Errorf("pair %v with error %v", got, err)
			}
		})
	}
}

func TestParseKeyPairTellsWhereTheLeafIs(t *testing.T) {
	a := sharedAuthority()
	pair := newServer(t, a)
	_, err := ParseKeyPair(append(a.EncodeCertificate(), pair.EncodeChain()...), must[[]byte](t)(pair.EncodeKey()))
	if want := "the key belongs to certificate 2 of the chain, not to the first: put the leaf first and its issuers after it"; err == nil || err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
}

// TestParseKeyPairFromWindows: line ends of another system, in both files, are no damage.
func TestParseKeyPairFromWindows(t *testing.T) {
	pair := newServer(t, sharedAuthority())
	windows := func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }
	key := must[[]byte](t)(pair.EncodeKey())
	again := must[*KeyPair](t)(ParseKeyPair(windows(pair.EncodeChain()), windows(key)))
	samePair(t, pair, again)
	if !bytes.Equal(again.EncodeChain(), pair.EncodeChain()) || !bytes.Equal(must[[]byte](t)(again.EncodeKey()), key) {
		t.Error("what is written depends on the line ends of what was read")
	}
}

func TestEd25519IsRefusedWithTheCause(t *testing.T) {
	_, err := GenerateKey("Ed25519")
	for _, want := range []string{"SCRAM channel binding", "could not find digest for NID UNDEF", "use ECDSA-P256"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not hold %q", err, want)
		}
	}
}

// TestNoErrorShowsTheKey damages a key everywhere and looks for pieces of it in the message.
func TestNoErrorShowsTheKey(t *testing.T) {
	pair := newServer(t, sharedAuthority())
	key := must[[]byte](t)(pair.EncodeKey())
	secret := must[[]byte](t)(pair.Key.(*ecdsa.PrivateKey).Bytes())
	for i := range key {
		damaged := bytes.Clone(key)
		damaged[i] ^= 0x15
		_, err := ParseKeyPair(pair.EncodeChain(), damaged)
		if err == nil {
			continue
		}
		message := err.Error()
		for _, shown := range []string{fmt.Sprintf("%x", secret[:4]), string(key[60:68]), fmt.Sprint(secret[0], secret[1], secret[2])} {
			if strings.Contains(message, shown) {
				t.Fatalf("the message shows the key: %s", message)
			}
		}
	}
}

// TestNoCertificateIsSkipped cuts a bundle everywhere: the certificates that are read are all of those
// that begin in the text, or there is an error.
func TestNoCertificateIsSkipped(t *testing.T) {
	g1, g2 := newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2")
	text := encodeCertificates(anchorsOf(g1, g2))
	second := bytes.LastIndex(text, []byte(beginMarker))
	for end := range len(text) + 1 {
		anchors, err := ParseBundle(text[:end])
		switch {
		case err != nil:
		case len(anchors) == 2 && end >= len(text)-1: // but for the last line break
		case len(anchors) == 1 && end < second+len(markerDashes) && end >= second-1: // up to four dashes are a comment
		default:
			t.Errorf("cut at %d of %d (second begins at %d): %d certificates", end, len(text), second, len(anchors))
		}
	}
}

func TestADamagedByteIsNeverACertificateLess(t *testing.T) {
	text := encodeCertificates(anchorsOf(newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2"), newAuthority(t, "hippo server ca g3")))
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		with := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "with")
		damaged := slices.Concat(text[:at], with, text[at+1:])
		if anchors, err := ParseBundle(damaged); err == nil && len(anchors) != 3 {
			t.Fatalf("%d of 3 certificates are read without an error", len(anchors))
		}
	})
}

func TestRoundTrip(t *testing.T) {
	for _, alg := range []Algorithm{ECDSAP256, ECDSAP384, RSA2048} {
		t.Run(string(alg), func(t *testing.T) {
			r := authorityRequest("hippo server ca g1")
			r.Algorithm = alg
			a := must[*Authority](t)(NewAuthority(r))
			sameAuthority(t, a, must[*Authority](t)(ParseAuthority(a.EncodeCertificate(), must[[]byte](t)(a.EncodeKey()))))

			leaf := serverRequest(hippo)
			leaf.Algorithm = alg
			pair := must[*KeyPair](t)(a.Issue(leaf))
			pair.Chain = append(pair.Chain, a.Certificate)
			samePair(t, pair, must[*KeyPair](t)(ParseKeyPair(pair.EncodeChain(), must[[]byte](t)(pair.EncodeKey()))))
		})
	}
}

func sameAuthority(t failer, a, b *Authority) {
	t.Helper()
	if !a.Certificate.Equal(b.Certificate) || !sameKey(a.Certificate, b.Key) {
		t.Fatalf("the authority has changed")
	}
}

func samePair(t failer, a, b *KeyPair) {
	t.Helper()
	if !slices.EqualFunc(a.Chain, b.Chain, (*x509.Certificate).Equal) || !sameKey(a.Leaf(), b.Key) {
		t.Fatalf("the key pair has changed")
	}
}

func TestEncodedKeyIsPKCS8(t *testing.T) {
	for _, key := range []crypto.Signer{pkitest.ECKey(), pkitest.RSAKey(2048)} {
		text := must[[]byte](t)(encodeKey(key))
		decoded, rest := pem.Decode(text)
		if decoded == nil || decoded.Type != "PRIVATE KEY" || len(rest) > 0 {
			t.Fatalf("%T: not one PKCS#8 block", key)
		}
		if _, err := x509.ParsePKCS8PrivateKey(decoded.Bytes); err != nil {
			t.Errorf("%T: %v", key, err)
		}
	}
}

func TestEncodeKeyRefusesWhatCannotBeWritten(t *testing.T) {
	pair := &KeyPair{Chain: newServer(t, sharedAuthority()).Chain, Key: opaqueKey{pkitest.ECKey()}}
	if text, err := pair.EncodeKey(); err == nil || len(text) > 0 {
		t.Errorf("text %q, error %v", text, err)
	}
}

// opaqueKey is a key in hardware, say: it signs but cannot be written.
type opaqueKey struct{ crypto.Signer }

func TestEncodeBundleKeepsTheOrderWithoutDoubles(t *testing.T) {
	all := anchorsOf(newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g1"), newAuthority(t, "hippo server ca g2"))
	want := EncodeBundle(all)
	rapid.Check(t, func(t *rapid.T) {
		doubled := append(slices.Clone(all), rapid.SliceOfN(rapid.SampledFrom(all), 0, 4).Draw(t, "doubles")...)
		before := slices.Clone(doubled)
		if got := EncodeBundle(doubled); !bytes.Equal(got, want) {
			t.Fatalf("another text:\n%s\nwant:\n%s", got, want)
		}
		if !slices.Equal(before, doubled) {
			t.Fatalf("the argument has changed")
		}
	})
	if got := must[[]*x509.Certificate](t)(ParseBundle(want)); len(got) != 3 || got[2].Subject.CommonName != "hippo server ca g2" {
		t.Errorf("read back: %d certificates", len(got))
	}
	if got := EncodeBundle(nil); len(got) != 0 {
		t.Errorf("no anchors give %q", got)
	}
}

func TestParseRefusesRSAKeysThatAreTooLong(t *testing.T) {
	// Making such a key takes minutes; its size is all that is looked at.
	long := &rsa.PublicKey{N: sharedLongModulus(), E: 65537}
	wantReason(t, checkKeyAlgorithm("the leaf", long), AlgorithmUnsupported)
}
