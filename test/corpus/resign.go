package corpus

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
)

// signedPart is what a certificate's signature covers (RFC 5280 section 4.1).
type signedPart struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

type signedCertificate struct {
	Part      asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

var (
	idSubjectKey       = asn1.ObjectIdentifier{2, 5, 29, 14}
	idBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	idAuthorityKey     = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// resigned edits a certificate in ways that crypto/x509 does not offer and signs it again. The signer has an ECDSA key and
// SHA-256.
func resigned(der []byte, key crypto.Signer, edits []func(*signedPart)) []byte {
	var outer signedCertificate
	must(asn1.Unmarshal(der, &outer))
	var part signedPart
	must(asn1.Unmarshal(outer.Part.FullBytes, &part))
	for _, e := range edits {
		e(&part)
	}
	tbs := must(asn1.Marshal(part))
	sum := sha256.Sum256(tbs)
	signature := must(key.Sign(rand.Reader, sum[:], crypto.SHA256))
	outer.Part = asn1.RawValue{FullBytes: tbs}
	outer.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	return must(asn1.Marshal(outer))
}

func dropExtension(id asn1.ObjectIdentifier) func(*signedPart) {
	return func(p *signedPart) {
		p.Extensions = slices.DeleteFunc(p.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	}
}

func uncritical(id asn1.ObjectIdentifier) func(*signedPart) {
	return func(p *signedPart) {
		for i := range p.Extensions {
			if p.Extensions[i].Id.Equal(id) {
				p.Extensions[i].Critical = false
			}
		}
	}
}

// versionOne has no extensions: what "openssl x509 -req" made before OpenSSL 3.2.
func versionOne(p *signedPart) { p.Version, p.Extensions = 0, nil }
