package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"testing"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// externalCase is an external chain, as openssl commands make it.
type externalCase struct {
	name      string
	want      Reason   // of Verify with Lenient; "" accepts
	tolerated []Reason // what strict verifiers refuse in it, in the order of the path; the first is what Verify says without Lenient
	make      func(*testing.T) presented
}

func keyUsage(bits byte) func(*signedPart) { return extension(idKeyUsage, true, 3, 2, 0, bits) }

// withAnchors holds more anchors, before or behind.
func withAnchors(make func(*testing.T) presented, before bool, anchors ...func(*testing.T) []byte) func(*testing.T) presented {
	return func(t *testing.T) presented {
		p := make(t)
		for _, anchor := range anchors {
			if before {
				p.anchors = slices.Insert(p.anchors, 0, anchor(t))
			} else {
				p.anchors = append(p.anchors, anchor(t))
			}
		}
		return p
	}
}

// namesake is another authority of a name.
func namesake(name string, edits ...func(*signedPart)) func(*testing.T) []byte {
	return func(t *testing.T) []byte {
		other := forgeCA(t, name, nil)
		return remade(t, other.Certificate, other.Key, edits...)
	}
}

// byHand is "openssl req -x509" and "openssl x509 -req" before OpenSSL 3.2, with an extension file for the names alone.
func byHand(t *testing.T) presented {
	a := forgeCA(t, "root", nil)
	p := show(nil, a.Certificate)
	p.anchors = [][]byte{remade(t, a.Certificate, a.Key, without(idKeyUsage))}
	p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, without(idAuthorityKey), without(idSubjectKey), without(idKeyUsage), without(idExtKeyUsage), without(idBasicConstraints))}
	return p
}

func rootAndLeaf(root, leaf []func(*signedPart)) func(*testing.T) presented {
	return func(t *testing.T) presented {
		a := forgeCA(t, "root", nil)
		p := show(nil, a.Certificate)
		p.anchors = [][]byte{remade(t, a.Certificate, a.Key, root...)}
		p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, leaf...)}
		return p
	}
}

type edits = []func(*signedPart)

var externalCases = []externalCase{
	{"nothing edited", "", nil, editedIntermediate()},
	{"by hand: openssl req -x509 and x509 -req before 3.2", "", []Reason{KeyIdentifierMissing, NotCA}, byHand},
	{"version 1, as in PostgreSQL's documentation with openssl before 3.2", "", []Reason{KeyIdentifierMissing}, anyHost(editedLeaf(versionOne))},
	{"root: no key usage", "", []Reason{NotCA}, editedRoot(without(idKeyUsage))},
	{"root: no subject key identifier", "", []Reason{KeyIdentifierMissing}, editedRoot(without(idSubjectKey))},
	{"root: no key identifiers at all, nor in the leaf", "", []Reason{KeyIdentifierMissing, KeyIdentifierMissing}, rootAndLeaf(edits{without(idSubjectKey), without(idAuthorityKey)}, edits{without(idAuthorityKey)})},
	{"root: basic constraints not critical", "", []Reason{NotCA}, editedRoot(critical(idBasicConstraints, false))},
	{"root: basic constraints not critical and no key usage", "", []Reason{NotCA, NotCA}, editedRoot(critical(idBasicConstraints, false), without(idKeyUsage))},
	{"root: version 1", "", []Reason{NotCA}, editedRoot(versionOne)},
	{"root: key usage without keyCertSign", NotCA, nil, editedRoot(extension(idKeyUsage, true, 3, 2, 1, 2))},
	{"root: no basic constraints", NotCA, nil, editedRoot(without(idBasicConstraints))},
	{"issuer: no key usage", "", []Reason{NotCA}, editedIntermediate(without(idKeyUsage))},
	{"issuer: basic constraints not critical", "", []Reason{NotCA}, editedIntermediate(critical(idBasicConstraints, false))},
	{"issuer: no authority key identifier", "", []Reason{KeyIdentifierMissing}, editedIntermediate(without(idAuthorityKey))},
	{"issuer: no subject key identifier", "", []Reason{KeyIdentifierMissing}, editedIntermediate(without(idSubjectKey))},
	{"issuer: version 1", NotCA, nil, editedIntermediate(versionOne)},
	{"leaf: no authority key identifier", "", []Reason{KeyIdentifierMissing}, editedLeaf(without(idAuthorityKey))},
	{"leaf: no subject, names not critical", "", []Reason{NameMissing}, editedLeaf(withoutSubject, critical(idSubjectAltName, false))},
	{"leaf: key usage keyCertSign", "", []Reason{ChainRefused}, editedLeaf(extension(idKeyUsage, true, 3, 2, 2, 0x84))},
	{"leaf: a server that may encipher and not sign", "", []Reason{UsageMissing}, editedLeaf(keyUsage(0x20))},
	{"leaf: a server that may agree and not sign", "", []Reason{UsageMissing}, editedLeaf(keyUsage(0x08))},
	{"leaf: a server that may do neither", UsageMissing, nil, editedLeaf(keyUsage(0x10))},
	{"leaf: a client that may agree and not sign", "", []Reason{UsageMissing}, asClient(editedLeaf(keyUsage(0x08), without(idExtKeyUsage)))},
	{"leaf: a client that may encipher and not sign", UsageMissing, nil, asClient(editedLeaf(keyUsage(0x20), without(idExtKeyUsage)))},
	{"leaf: its issuer's serial alone, right", "", []Reason{KeyIdentifierMissing}, func(t *testing.T) presented { return pointingBySerial(t, true) }},
	{"leaf: its issuer's serial alone, wrong", UnknownAuthority, nil, func(t *testing.T) presented { return pointingBySerial(t, false) }},
	{"leaf: another key identifier", UnknownAuthority, nil, editedLeaf(extension(idAuthorityKey, false, 0x30, 3, 0x80, 1, 7))},

	{"two roots of one name, the leaf does not say which, the wrong one first", KeyIdentifierMissing, nil, withAnchors(byHand, true, namesake("root"))},
	{"two roots of one name, the leaf does not say which, the right one first", KeyIdentifierMissing, nil, withAnchors(byHand, false, namesake("root"))},
	{"two roots of one name in other letters, the leaf does not say which", KeyIdentifierMissing, nil, withAnchors(byHand, true, namesake("Root "))},
	{"two roots of one name, one without identifier", KeyIdentifierMissing, nil, withAnchors(editedLeaf(), true, namesake("root", without(idSubjectKey)))},
	{"two roots of one name, and the leaf says which", "", nil, withAnchors(editedLeaf(), true, namesake("root"))},
	{"an unused root of another name, made by hand", "", nil, withAnchors(editedLeaf(), true, namesake("other", without(idSubjectKey), without(idKeyUsage)))},
	{"a root renewed with its key, and no identifiers", "", []Reason{KeyIdentifierMissing}, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil)
		p := show(nil, a.Certificate, reissued(t, a, ended))
		p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, without(idAuthorityKey))}
		return p
	}},
	{"two issuers of one name, and the leaf does not say which", KeyIdentifierMissing, nil, func(t *testing.T) presented {
		root := forgeCA(t, "root", nil)
		issuing, other := forgeCA(t, "issuing", root), forgeCA(t, "issuing", root)
		p := show([]*x509.Certificate{forgeLeaf(t, issuing)[0], issuing.Certificate, other.Certificate}, root.Certificate)
		p.chain[0] = remade(t, forgeLeaf(t, issuing)[0], issuing.Key, without(idAuthorityKey))
		return p
	}},
	{"a root with the name of the issuer, and the leaf does not say which", KeyIdentifierMissing, nil, func(t *testing.T) presented {
		root := forgeCA(t, "root", nil)
		issuing, other := forgeCA(t, "issuing", root), forgeCA(t, "issuing", nil)
		p := show([]*x509.Certificate{forgeLeaf(t, issuing)[0], issuing.Certificate}, root.Certificate, other.Certificate)
		p.chain[0] = remade(t, forgeLeaf(t, issuing)[0], issuing.Key, without(idAuthorityKey))
		return p
	}},
	{"an issuer that is presented, without identifiers, under a root without", "", []Reason{KeyIdentifierMissing, KeyIdentifierMissing, KeyIdentifierMissing, NotCA}, func(t *testing.T) presented {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root)
		p := show(nil, root.Certificate)
		p.chain = [][]byte{remade(t, forgeLeaf(t, issuing)[0], issuing.Key, without(idAuthorityKey)), remade(t, issuing.Certificate, root.Key, without(idAuthorityKey), without(idSubjectKey))}
		p.anchors = [][]byte{remade(t, root.Certificate, root.Key, without(idKeyUsage))}
		return p
	}},
	{"signed by another key", SignatureInvalid, nil, func(t *testing.T) presented {
		a, other := forgeCA(t, "root", nil), forgeCA(t, "root", nil)
		p := show(nil, a.Certificate)
		p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], other.Key, without(idAuthorityKey))}
		return p
	}},
	{"an authority for these hosts, constraints not critical", "", []Reason{ChainRefused}, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil, permits("postgres.svc"), func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false })
		return show(forgeLeaf(t, a), a.Certificate)
	}},
	{"an authority for other hosts, constraints not critical", ChainRefused, nil, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil, permits("example.com"), func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false })
		return show(forgeLeaf(t, a), a.Certificate)
	}},
	{"an authority for another organization, constraints not critical", ChainRefused, nil, func(t *testing.T) presented { return constrained(t, false) }},
	{"a root that names another certificate of its own as its issuer", NotSelfSigned, nil, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil)
		p := show(forgeLeaf(t, a))
		p.anchors = [][]byte{remade(t, a.Certificate, a.Key, pointsTo(t, a.Certificate, newSerial()))}
		return p
	}},
	{"an Ed25519 server", AlgorithmUnsupported, nil, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil)
		return show([]*x509.Certificate{forge(t, leafTemplate(), pkitest.Ed25519Key(), a)}, a.Certificate)
	}},
}

// pointingBySerial is a leaf that names its issuer by name and serial alone, as "keyid,issuer" does under a CA without identifier.
func pointingBySerial(t *testing.T, right bool) presented {
	a := forgeCA(t, "root", nil)
	p := show(nil, a.Certificate)
	p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, extension(idAuthorityKey, false, must[[]byte](t)(asn1.Marshal(bySerial(t, a, right)))...))}
	return p
}

func bySerial(t *testing.T, a *Authority, right bool) any {
	serial := a.Certificate.SerialNumber
	if !right {
		serial = newSerial()
	}
	name := must[[]byte](t)(asn1.Marshal(asn1.RawValue{Class: 2, Tag: 4, IsCompound: true, Bytes: a.Certificate.RawIssuer}))
	return struct {
		Issuer asn1.RawValue
		Serial asn1.RawValue
	}{
		asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: name},
		asn1.RawValue{Class: 2, Tag: 2, Bytes: serial.Bytes()},
	}
}

func reasonsOf(errs []error) (out []Reason) {
	for _, err := range errs {
		out = append(out, ReasonOf(err))
	}
	return out
}

func TestVerifyLenient(t *testing.T) {
	for _, c := range externalCases {
		t.Run(c.name, func(t *testing.T) {
			r, err := c.make(t).request()
			if err != nil {
				t.Fatal(err)
			}
			own := Verify(r)
			r.Lenient = true
			wantReason(t, Verify(r), c.want)
			if c.want != "" {
				if own == nil {
					t.Error("as a chain of pgtls's own it is accepted")
				}
				return
			}
			tolerated := reasonsOf(Tolerated(r))
			if !slices.Equal(tolerated, c.tolerated) {
				t.Errorf("tolerated %v, want %v: %v", tolerated, c.tolerated, Tolerated(r))
			}
			if (own == nil) != (len(c.tolerated) == 0) {
				t.Errorf("as a chain of pgtls's own: %v", own)
			}
		})
	}
}

// TestOwnLeafBesideExternalAnchors: what verifies pgtls's own leaves holds external trust anchors too, which may lack what strict
// verifiers demand of an issuer. One that could be taken for the issuer of the leaf is refused all the same.
func TestOwnLeafBesideExternalAnchors(t *testing.T) {
	own := newAuthority(t, "hippo server ca g1")
	chain := newServer(t, own).Chain
	tests := map[string]struct {
		anchor []byte
		want   Reason
	}{
		"no key usage":                   {namesake("root", without(idKeyUsage))(t), ""},
		"no subject key identifier":      {namesake("root", without(idSubjectKey))(t), ""},
		"basic constraints not critical": {namesake("root", critical(idBasicConstraints, false))(t), ""},
		"version 1":                      {namesake("root", versionOne)(t), ""},
		"may not sign":                   {namesake("root", extension(idKeyUsage, true, 3, 2, 1, 2))(t), NotCA},
		"no CA":                          {namesake("root", extension(idBasicConstraints, true, 0x30, 0))(t), NotCA},
		"our name, and no subject key identifier":  {namesake("hippo server ca g1", without(idSubjectKey))(t), KeyIdentifierMissing},
		"our name in other letters, no identifier": {namesake("Hippo  server CA G1", without(idSubjectKey))(t), KeyIdentifierMissing},
		"our name in other letters":                {namesake("Hippo  server CA G1")(t), ""},
		"our name, and another key identifier":     {namesake("hippo server ca g1")(t), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			anchor := must[*x509.Certificate](t)(x509.ParseCertificate(test.anchor))
			for _, anchors := range [][]*x509.Certificate{{own.Certificate, anchor}, {anchor, own.Certificate}} {
				wantReason(t, Verify(serverCheck(chain, anchors...)), test.want)
			}
			bundle, err := ParseBundle(encodeCertificates([]*x509.Certificate{own.Certificate, anchor}))
			if test.want != NotCA && (err != nil || len(bundle) != 2) {
				t.Errorf("the bundle cannot be read: %v", err)
			}
			if test.want == NotCA {
				wantReason(t, err, NotCA)
			}
		})
	}
}

func TestStrictFaults(t *testing.T) {
	tests := map[string]struct {
		anchor []byte
		want   []Reason
	}{
		"good":         {namesake("root")(t), nil},
		"no key usage": {namesake("root", without(idKeyUsage))(t), []Reason{NotCA}},
		"all":          {namesake("root", without(idKeyUsage), without(idSubjectKey), critical(idBasicConstraints, false))(t), []Reason{NotCA, NotCA, KeyIdentifierMissing}},
		"version 1":    {namesake("root", versionOne)(t), []Reason{NotCA}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			anchor := must[*x509.Certificate](t)(x509.ParseCertificate(test.anchor))
			wantReason(t, CheckAnchor(anchor), "")
			if got := reasonsOf(StrictFaults(anchor)); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
			_, err := ParseAuthority(encodeCertificates([]*x509.Certificate{anchor}), nil)
			if test.want != nil {
				wantReason(t, err, test.want[0])
			}
		})
	}
}

func TestCommonNameCovers(t *testing.T) {
	a := sharedAuthority()
	tests := []struct {
		common string
		names  []string
		host   string
		want   bool
	}{
		{hippo, nil, hippo, true},
		{"HIPPO-primary.postgres.svc", nil, hippo, true},
		{"*.postgres.svc", nil, hippo, true},
		{"*.svc", nil, hippo, false},
		{hippo, []string{"db.example.com"}, hippo, false},
		{hippo, nil, "db.example.com", false},
		{"192.0.2.7", nil, "192.0.2.7", true},
		{"", nil, "", false},
	}
	for _, test := range tests {
		leaf := forgeLeaf(t, a, named(test.common), func(c *x509.Certificate) { c.DNSNames = test.names })[0]
		if got := CommonNameCovers(leaf, test.host); got != test.want {
			t.Errorf("%q %q for %q: %v", test.common, test.names, test.host, got)
		}
	}
}
