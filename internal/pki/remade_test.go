package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
)

// Certificates that crypto/x509 does not make: taken apart, edited and signed again.

// signedPart is the TBSCertificate of RFC 5280 section 4.1; what no case edits is left as it is.
type signedPart struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Signature  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

var (
	ecdsaWithSHA1 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}

	idSubjectKey = asn1.ObjectIdentifier{2, 5, 29, 14}
)

// remade signs c again with by's key after the edits, and returns it as DER.
func remade(t failer, c *x509.Certificate, by crypto.Signer, edits ...func(*signedPart)) []byte {
	t.Helper()
	var part signedPart
	if _, err := asn1.Unmarshal(c.RawTBSCertificate, &part); err != nil {
		t.Fatalf("taking %s apart: %v", c.Subject, err)
	}
	for _, edit := range edits {
		edit(&part)
	}
	tbs := must[[]byte](t)(asn1.Marshal(part))
	sum256, sum1 := sha256.Sum256(tbs), sha1.Sum(tbs)
	digest := sum256[:]
	if part.Signature.Algorithm.Equal(ecdsaWithSHA1) {
		digest = sum1[:]
	}
	signature := must[[]byte](t)(ecdsa.SignASN1(rand.Reader, by.(*ecdsa.PrivateKey), digest))
	return must[[]byte](t)(asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, part.Signature, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}))
}

func extension(id asn1.ObjectIdentifier, critical bool, value ...byte) func(*signedPart) {
	return func(p *signedPart) {
		at := slices.IndexFunc(p.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
		e := pkix.Extension{Id: id, Critical: critical, Value: value}
		if at < 0 {
			p.Extensions = append(p.Extensions, e)
		} else {
			p.Extensions[at] = e
		}
	}
}

func without(id asn1.ObjectIdentifier) func(*signedPart) {
	return func(p *signedPart) {
		p.Extensions = slices.DeleteFunc(p.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	}
}

func twice(id asn1.ObjectIdentifier) func(*signedPart) {
	return func(p *signedPart) {
		for _, e := range slices.Clone(p.Extensions) {
			if e.Id.Equal(id) {
				p.Extensions = append(p.Extensions, e)
			}
		}
	}
}

func critical(id asn1.ObjectIdentifier, yes bool) func(*signedPart) {
	return func(p *signedPart) {
		for i := range p.Extensions {
			if p.Extensions[i].Id.Equal(id) {
				p.Extensions[i].Critical = yes
			}
		}
	}
}

func versionOne(p *signedPart) { p.Version, p.Extensions = 0, nil }

func versionOneWithExtensions(p *signedPart) { p.Version = 0 }

func signedWithSHA1(p *signedPart) { p.Signature = pkix.AlgorithmIdentifier{Algorithm: ecdsaWithSHA1} }

var emptyName = asn1.RawValue{FullBytes: []byte{0x30, 0}}

func withoutSubject(p *signedPart) { p.Subject = emptyName }

func withoutIssuer(p *signedPart) { p.Issuer = emptyName }

// pointsTo makes an authority key identifier that also names the issuer's own issuer and serial, as "issuer:always" does.
func pointsTo(t failer, issuer *x509.Certificate, serial *big.Int) func(*signedPart) {
	t.Helper()
	name := must[[]byte](t)(asn1.Marshal(asn1.RawValue{Class: 2, Tag: 4, IsCompound: true, Bytes: issuer.RawIssuer}))
	value := must[[]byte](t)(asn1.Marshal(struct {
		Key    []byte        `asn1:"tag:0"`
		Issuer asn1.RawValue `asn1:"tag:1"`
		Serial *big.Int      `asn1:"tag:2"`
	}{issuer.SubjectKeyId, asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: name}, serial}))
	return extension(idAuthorityKey, false, value...)
}

// permitsSubject is a name constraint on the subject, which crypto/x509 does not know.
func permitsSubject(t failer, commonName string) []byte {
	t.Helper()
	name := must[[]byte](t)(asn1.Marshal(pkix.Name{Organization: []string{commonName}}.ToRDNSequence()))
	directory := must[[]byte](t)(asn1.Marshal(asn1.RawValue{Class: 2, Tag: 4, IsCompound: true, Bytes: name}))
	subtree := must[[]byte](t)(asn1.Marshal(asn1.RawValue{Tag: 16, IsCompound: true, Bytes: directory}))
	permitted := must[[]byte](t)(asn1.Marshal(asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: subtree}))
	return must[[]byte](t)(asn1.Marshal(asn1.RawValue{Tag: 16, IsCompound: true, Bytes: permitted}))
}

// TestRemadeUnchangedIsGood guards the tool itself.
func TestRemadeUnchangedIsGood(t *testing.T) {
	a := forgeCA(t, "root", nil)
	leaf := forgeLeaf(t, a)[0]
	again := must[*x509.Certificate](t)(x509.ParseCertificate(remade(t, leaf, a.Key)))
	if !bytes.Equal(again.RawTBSCertificate, leaf.RawTBSCertificate) {
		t.Error("it is another certificate")
	}
	wantReason(t, Verify(serverCheck([]*x509.Certificate{again}, a.Certificate)), "")
}
