package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
)

// Extensions whose bytes matter, since crypto/x509 reads past what OpenSSL refuses in them.
var (
	idKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	idSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	idBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	idNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	idAuthorityKey     = asn1.ObjectIdentifier{2, 5, 29, 35}
	idExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	idNetscapeType     = asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 1, 1}
)

const extensionRemedy = "issue it anew, as RFC 5280 says"

// checkExtensions refuses what OpenSSL refuses, with -x509_strict or without, in a certificate that is on the path. Every
// line of it is a case of strict_test.go in which crypto/x509 alone accepts. What people make and OpenSSL takes by default is in
// strictFaults and strictLeafFaults.
func checkExtensions(what string, c *x509.Certificate, usage Usage) error {
	const remedy = extensionRemedy
	empty := func(id asn1.ObjectIdentifier) bool { // a sequence without content
		value := extensionOf(c, id)
		return value != nil && len(value) <= 2
	}
	unnamed := len(c.Subject.Names) == 0
	switch {
	case unnamed && (isCA(c) || extensionOf(c, idSubjectAltName) == nil):
		return refuse(NameMissing, remedy, "%s has neither a subject nor a critical subjectAltName", what)
	case len(c.Issuer.Names) == 0:
		return refuse(UnknownAuthority, remedy, "%s does not name its issuer", what)
	case empty(idSubjectAltName):
		return refuse(NameMissing, remedy, "%s has a subjectAltName without a name", what)
	case empty(idExtKeyUsage):
		return refuse(UsageMissing, remedy, "%s has an extended key usage without a purpose", what)
	case c.KeyUsage == 0 && extensionOf(c, idKeyUsage) != nil:
		return refuse(UsageMissing, remedy, "%s has a key usage that allows nothing", what)
	case !isCA(c) && (c.MaxPathLen > 0 || c.MaxPathLenZero):
		return refuse(ChainRefused, remedy, "%s is no CA and limits the path", what)
	}
	return checkNetscapeType(what, c, usage)
}

// strictLeafFaults are what OpenSSL refuses in a leaf with -x509_strict alone.
func strictLeafFaults(leaf *x509.Certificate) (faults []error) {
	if len(leaf.Subject.Names) == 0 && !isCritical(leaf, idSubjectAltName) {
		faults = append(faults, refuse(NameMissing, extensionRemedy, "the leaf has neither a subject nor a critical subjectAltName"))
	}
	if leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		faults = append(faults, refuse(ChainRefused, extensionRemedy, "the leaf is no CA and has key usage keyCertSign"))
	}
	return faults
}

func isCritical(c *x509.Certificate, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Critical && e.Id.Equal(id) })
}

func extensionOf(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}

// checkNetscapeType looks at what came before extended key usage, and that OpenSSL still obeys in a leaf.
func checkNetscapeType(what string, c *x509.Certificate, usage Usage) error {
	value := extensionOf(c, idNetscapeType)
	if value == nil {
		return nil
	}
	bit := 1 // of a server
	if usage == ClientAuth {
		bit = 0
	}
	var allows asn1.BitString
	if rest, err := asn1.Unmarshal(value, &allows); err != nil || len(rest) > 0 || !isCA(c) && allows.At(bit) == 0 {
		return refuse(UsageMissing, "issue it without nsCertType", "%s is not for a %s by its nsCertType", what, usage)
	}
	return nil
}

// checkNamedIssuer refuses a child whose authority key identifier names its issuer by name and serial as well, and another
// one than this: OpenSSL then looks no further. A CA that was renewed with its key is such another one.
func checkNamedIssuer(child, issuer *x509.Certificate) error {
	identifier := extensionOf(child, idAuthorityKey)
	if identifier == nil {
		return nil
	}
	var named struct {
		Key    []byte        `asn1:"optional,tag:0"`
		Issuer asn1.RawValue `asn1:"optional,tag:1"`
		Serial *big.Int      `asn1:"optional,tag:2"`
	}
	rest, err := asn1.Unmarshal(identifier, &named)
	serial := named.Serial == nil || named.Serial.Cmp(issuer.SerialNumber) == 0
	name := len(named.Issuer.Bytes) == 0 || bytes.Contains(named.Issuer.Bytes, issuer.RawIssuer)
	if err != nil || len(rest) > 0 || !serial || !name {
		return refuse(UnknownAuthority, "issue it with an authority key identifier that holds nothing but the key's",
			"%s names another certificate of %s as its issuer", child.Subject, issuer.Subject)
	}
	return nil
}

// checkNameConstraints refuses constraints that crypto/x509 overlooks: those that are not critical, since it skips the kinds
// that it does not know, and those on a leaf without alternative names, whose common name OpenSSL takes for one.
func (v *verification) checkNameConstraints(leaf *x509.Certificate, issuer *x509.Certificate) error {
	const remedy = "issue it from a CA without name constraints"
	constraints := extensionOf(issuer, idNameConstraints)
	if constraints == nil {
		return nil
	}
	if extensionOf(leaf, idSubjectAltName) == nil {
		return refuse(ChainRefused, remedy, "%s has name constraints, and the leaf has no subjectAltName", issuer.Subject)
	}
	if isCritical(issuer, idNameConstraints) {
		return nil
	}
	err := refuse(ChainRefused, remedy, "%s has name constraints that are not critical", issuer.Subject)
	if !constrainsKnownNames(constraints) {
		return err
	}
	return v.strictly(err)
}

// constrainsKnownNames reports whether constraints are about kinds of names that crypto/x509 compares, and so does not skip.
func constrainsKnownNames(constraints []byte) bool {
	known := []int{1, 2, 6, 7} // rfc822Name, dNSName, URI, iPAddress (RFC 5280 section 4.2.1.6)
	var lists []asn1.RawValue
	if rest, err := asn1.Unmarshal(constraints, &lists); err != nil || len(rest) > 0 {
		return false
	}
	for _, list := range lists {
		for subtrees := list.Bytes; len(subtrees) > 0; {
			var subtree []asn1.RawValue
			rest, err := asn1.Unmarshal(subtrees, &subtree)
			if err != nil || len(subtree) == 0 || !slices.Contains(known, subtree[0].Tag) {
				return false
			}
			subtrees = rest
		}
	}
	return true
}
