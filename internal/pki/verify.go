package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// VerifyRequest asks whether a verifier that holds Anchors accepts Chain at a time.
type VerifyRequest struct {
	Chain   []*x509.Certificate // as presented: leaf first, each next one the issuer of the one before
	Anchors []*x509.Certificate // self-signed CAs
	At      time.Time           // must not be zero
	Usage   Usage               // ServerAuth or ClientAuth: what the leaf is presented as
	DNSName string              // host name or IP address that the client connects to; "" checks no name

	// Lenient says that the checks of OpenSSL by default, without -x509_strict, are enough: for chains of external authorities.
	// What pgtls issues itself is never verified so.
	Lenient bool
}

// Verify returns nil only when libpq, PostgreSQL, PgBouncer and Go's TLS would all accept the chain.
// Beyond crypto/x509 it demands what OpenSSL demands, and more where OpenSSL's answer depends on the order
// of things:
//
//   - Every anchor is a self-signed CA, also those that the path does not use: OpenSSL prefers any certificate in
//     its store to the presented ones, and so a stray one can lead it into a dead end. Only those on the path must be what
//     strict verifiers demand: see StrictFaults.
//   - The authority key identifier equals the issuer's subject key identifier all along the path, and
//     both are there. Name and key alone do not make an issuer.
//   - No anchor without subject key identifier bears an issuer's name: OpenSSL would take it for that issuer.
//   - Presented issuers are in order. Certificates behind the first that an anchor issued are not looked at.
//   - The end of the validity is exclusive, as in OpenSSL.
//   - The leaf's usage is named, and anyExtendedKeyUsage does not name it. Key usage, when present, has digitalSignature.
//   - A server's leaf is not Ed25519 in key or signature (SCRAM channel binding fails).
//   - Extensions are as RFC 5280 has them, in all that is on the path: see checkExtensions.
//   - Names match by libpq's rules, without its fallback to the common name.
//
// With Lenient these checks are enough, which OpenSSL makes by default; Tolerated returns the ones that strict verifiers add:
//
//   - Where a key identifier is missing, all that bear the issuer's name, among anchors and presented certificates, have one
//     key: OpenSSL takes one of them and never tries another.
//   - Authorities may lack key usage, have basic constraints that are not critical, and anchors may be of version 1.
//   - A server's key may encipher or agree instead of signing, a client's agree.
//   - Name constraints on hosts, addresses and the like need not be critical.
//   - A leaf without subject may have alternative names that are not critical, and one that is no CA key usage keyCertSign.
//
// Errors: NoCertificate, UsageMissing, ValidityMalformed (no time given), IsCA, NotCA, NotSelfSigned, KeyIdentifierMissing,
// AlgorithmUnsupported, Expired, NotYetValid, UnknownAuthority, SignatureInvalid, ChainRefused, NameMissing.
func Verify(r VerifyRequest) error {
	return (&verification{VerifyRequest: r}).verify()
}

// Tolerated returns what strict verifiers refuse in a chain that Verify accepts with Lenient, in the order of the path: errors as
// Verify gives them without Lenient, all of them. Such verifiers are "openssl verify -x509_strict" and Python's
// ssl.create_default_context since 3.13.
func Tolerated(r VerifyRequest) []error {
	r.Lenient = true
	v := &verification{VerifyRequest: r}
	if v.verify() != nil {
		return nil
	}
	return v.tolerated
}

// verification is one run of Verify.
type verification struct {
	VerifyRequest
	tolerated []error
}

// strictly is for what strict verifiers alone refuse.
func (v *verification) strictly(faults ...error) error {
	for _, err := range faults {
		if err == nil {
			continue
		}
		if !v.Lenient {
			return err
		}
		v.tolerated = append(v.tolerated, err)
	}
	return nil
}

func (v *verification) verify() error {
	if err := checkRequest(v.VerifyRequest); err != nil {
		return err
	}
	for _, anchor := range v.Anchors {
		if err := CheckAnchor(anchor); err != nil {
			return err
		}
	}
	if err := v.checkLeaf(v.Chain[0]); err != nil {
		return err
	}
	path, err := v.buildPath()
	if err != nil {
		return err
	}
	if err := checkExtensions("the leaf", path[0], v.Usage); err != nil {
		return err
	}
	for i, issuer := range path[1:] {
		if err := v.checkLink(path[i], issuer); err != nil {
			return err
		}
		if err := v.checkNameConstraints(path[0], issuer); err != nil {
			return err
		}
	}
	if err := checkWithStandardLibrary(path, v.Usage, v.At); err != nil {
		return err
	}
	return checkName(path[0], v.DNSName)
}

// CheckAnchor refuses what Verify would refuse among its anchors, whatever the chain. The time is not looked at.
//
// Errors: NotCA, AlgorithmUnsupported, NotSelfSigned.
func CheckAnchor(c *x509.Certificate) error {
	return checkAnchor("trust anchor "+c.Subject.String(), c)
}

// StrictFaults returns what strict verifiers refuse in an authority on their path, and OpenSSL by default does not.
//
// Errors: NotCA, KeyIdentifierMissing.
func StrictFaults(c *x509.Certificate) []error {
	return strictFaults("authority "+c.Subject.String(), c)
}

// CoversName reports whether a client that connects to host, a name or an address, finds it in the leaf: the rules of Verify.
func CoversName(leaf *x509.Certificate, host string) bool {
	return matchesName(host, leaf.DNSNames, leaf.IPAddresses)
}

func checkRequest(r VerifyRequest) error {
	if len(r.Chain) == 0 {
		return refuse(NoCertificate, "present a certificate", "no certificate is presented")
	}
	if !r.Usage.single() {
		return refuse(UsageMissing, "verify as ServerAuth or as ClientAuth", "the usage to verify for is %q", r.Usage)
	}
	if r.At.IsZero() {
		return refuse(ValidityMalformed, "say when", "the time to verify at is not given")
	}
	return nil
}

// checkAnchor accepts what OpenSSL ends a path at: a CA that signed itself.
// Its time is not looked at here, since an expired anchor that nothing depends on does no harm. SHA-1 in its own
// signature passes, as in every verifier: no trust rests on it.
func checkAnchor(what string, c *x509.Certificate) error {
	const remedy = "keep only self-signed CA certificates as trust anchors and put intermediates into the chain"
	if err := checkSigner(what, c, remedy); err != nil {
		return err
	}
	if err := checkKeyAlgorithm(what, c.PublicKey); err != nil {
		return err
	}
	if !namesItself(c) || checkNamedIssuer(c, c) != nil {
		return refuse(NotSelfSigned, remedy, "%s was issued by %s", what, c.Issuer)
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return refuseSignature(err, NotSelfSigned, remedy, what+" does not carry its own signature")
	}
	return nil
}

func strictFaults(what string, c *x509.Certificate) (faults []error) {
	if !isCA(c) {
		return []error{refuse(NotCA, "issue it as a CA of version 3", "%s is of version %d, which marks no CA", what, c.Version)}
	}
	if extensionOf(c, idKeyUsage) == nil {
		faults = append(faults, refuse(NotCA, "issue it with key usage keyCertSign", "%s is a CA without key usage keyCertSign", what))
	}
	if !isCritical(c, idBasicConstraints) {
		faults = append(faults, refuse(NotCA, "issue it with critical basic constraints", "%s is a CA whose basic constraints are not critical", what))
	}
	if len(c.SubjectKeyId) == 0 {
		faults = append(faults, refuse(KeyIdentifierMissing, "issue it with a subject key identifier", "%s has no subject key identifier", what))
	}
	return faults
}

func (v *verification) checkLeaf(leaf *x509.Certificate) error {
	if isCA(leaf) {
		return refuse(IsCA, "present a leaf first", "the first certificate (%s) is a CA", leaf.Subject)
	}
	if err := checkKeyAlgorithm("the leaf", leaf.PublicKey); err != nil {
		return err
	}
	if v.Usage == ServerAuth {
		if err := checkServerAlgorithm(leaf); err != nil {
			return err
		}
	}
	if err := checkTime("the leaf", leaf, v.At); err != nil {
		return err
	}
	if !usageOf(leaf).Has(v.Usage) {
		return refuse(UsageMissing, "issue it for that usage", "the leaf is for %q and not for %q", usageOf(leaf), v.Usage)
	}
	if err := v.checkLeafKeyUsage(leaf); err != nil {
		return err
	}
	return v.strictly(strictLeafFaults(leaf)...)
}

// checkLeafKeyUsage: TLS 1.3 demands a key that signs, and OpenSSL does not look whether it may.
func (v *verification) checkLeafKeyUsage(leaf *x509.Certificate) error {
	enough := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
	if v.Usage == ServerAuth {
		enough |= x509.KeyUsageKeyEncipherment
	}
	if leaf.KeyUsage == 0 || leaf.KeyUsage&x509.KeyUsageDigitalSignature != 0 {
		return nil
	}
	err := refuse(UsageMissing, "issue it with key usage digitalSignature", "the leaf's key may not sign handshakes")
	if leaf.KeyUsage&enough == 0 {
		return err
	}
	return v.strictly(err)
}

// buildPath walks from the leaf to the first anchor. Like OpenSSL it looks among the anchors first, and like
// OpenSSL it never goes back to try another issuer.
func (v *verification) buildPath() ([]*x509.Certificate, error) {
	path := v.Chain[:1:1]
	for i, child := range v.Chain {
		if err := v.checkIdentifier(i, child); err != nil {
			return nil, err
		}
		anchor, err := v.anchorOf(child)
		if err != nil {
			return nil, err
		}
		if anchor != nil {
			return append(path, anchor), nil
		}
		if namesItself(child) {
			break // as OpenSSL does: what follows may well be a bridge, but it is too late for it
		}
		if i+1 < len(v.Chain) {
			if !v.issues(v.Chain[i+1], child) {
				return nil, refuse(UnknownAuthority, "present each issuer right after what it issued",
					"certificate %d (%s) is not the issuer that certificate %d names (%s, key %x)", i+2, v.Chain[i+1].Subject, i+1, child.Issuer, child.AuthorityKeyId)
			}
			path = append(path, v.Chain[i+1])
		}
	}
	last := path[len(path)-1]
	return nil, refuse(UnknownAuthority, "add that authority to the bundle or the missing issuers to the chain",
		"no trust anchor has issued %s: it names %s, key %x", last.Subject, last.Issuer, last.AuthorityKeyId)
}

// checkIdentifier refuses a certificate of the chain that does not say by which key it was issued, or, from elsewhere, one
// for which that leaves more than one.
func (v *verification) checkIdentifier(i int, child *x509.Certificate) error {
	if len(child.AuthorityKeyId) == 0 {
		err := refuse(KeyIdentifierMissing, "issue it with an authority key identifier", "certificate %d (%s) has no authority key identifier", i+1, child.Subject)
		if err := v.strictly(err); err != nil {
			return err
		}
	}
	if !v.Lenient {
		return nil
	}
	var first *x509.Certificate
	var blind, differ bool // something tells no more than the name; there are several keys
	for _, issuer := range slices.Concat(v.Anchors, v.Chain[1:]) {
		if issuer.Equal(child) || !mayHaveIssued(child, issuer) {
			continue
		}
		if first == nil {
			first = issuer
		}
		blind = blind || len(child.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0
		differ = differ || !sameSigner(first, issuer)
	}
	if blind && differ {
		return refuse(KeyIdentifierMissing, "issue them with key identifiers, or keep one of them",
			"two authorities are called %s, and no key identifiers tell which of them issued certificate %d (%s)", child.Issuer, i+1, child.Subject)
	}
	return nil
}

// anchorOf returns the anchor that child names as its issuer, one whose time is right if there is any, or nil.
// Two anchors of one name and identifier but with different keys make the answer depend on their order: refused.
func (v *verification) anchorOf(child *x509.Certificate) (*x509.Certificate, error) {
	var found *x509.Certificate
	for _, anchor := range v.Anchors {
		if !mayHaveIssued(child, anchor) {
			continue
		}
		if !v.issues(anchor, child) {
			return nil, refuse(KeyIdentifierMissing, "issue it with a subject key identifier, or remove it from the bundle",
				"trust anchor %s is not told apart by name and subject key identifier, so that OpenSSL takes it for the issuer of %s", anchor.Subject, child.Subject)
		}
		if found == nil {
			found = anchor
			continue
		}
		if !sameSigner(found, anchor) {
			return nil, refuse(SignatureInvalid, "remove the wrong one from the bundle", "two trust anchors are called %s with the same key identifier but have different keys", anchor.Subject)
		}
		if checkTime("", found, v.At) != nil {
			found = anchor
		}
	}
	return found, nil
}

// issues reports whether issuer is the one that child names, as precisely as is demanded.
func (v *verification) issues(issuer, child *x509.Certificate) bool {
	if v.Lenient {
		return mayHaveIssued(child, issuer)
	}
	return namesIssuer(child, issuer)
}

// namesIssuer reports whether child says that issuer issued it, by name and by key identifier.
func namesIssuer(child, issuer *x509.Certificate) bool {
	return bytes.Equal(child.RawIssuer, issuer.RawSubject) && bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId)
}

// mayHaveIssued reports whether OpenSSL takes issuer for the one that child names: an identifier that is missing on either side
// contradicts nothing, and neither letters in upper case nor more blanks make another name.
func mayHaveIssued(child, issuer *x509.Certificate) bool {
	missing := len(child.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0
	identified := missing || bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId)
	return identified && (bytes.Equal(child.RawIssuer, issuer.RawSubject) || slices.EqualFunc(child.Issuer.Names, issuer.Subject.Names, sameToOpenSSL))
}

// sameToOpenSSL compares parts of names as OpenSSL does, and takes some for the same that it does not.
func sameToOpenSSL(a, b pkix.AttributeTypeAndValue) bool {
	folded := func(value any) string { return strings.ToLower(strings.Join(strings.Fields(fmt.Sprint(value)), " ")) }
	return a.Type.Equal(b.Type) && folded(a.Value) == folded(b.Value)
}

// namesItself reports whether c says that it is self-signed.
func namesItself(c *x509.Certificate) bool { return mayHaveIssued(c, c) }

// sameSigner reports whether it does not matter which of two issuers of one name is taken.
func sameSigner(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// checkLink checks an issuer and that it really signed child.
func (v *verification) checkLink(child, issuer *x509.Certificate) error {
	what := "issuer " + issuer.Subject.String()
	if err := checkSigner(what, issuer, "issue from a CA"); err != nil {
		return err
	}
	if err := checkKeyAlgorithm(what, issuer.PublicKey); err != nil {
		return err
	}
	if err := checkTime(what, issuer, v.At); err != nil {
		return err
	}
	if err := checkExtensions(what, issuer, v.Usage); err != nil {
		return err
	}
	if err := checkNamedIssuer(child, issuer); err != nil {
		return err
	}
	if !usageOf(issuer).Has(v.Usage) {
		return refuse(UsageMissing, "use a CA without that restriction", "%s may issue for %q only", what, usageOf(issuer))
	}
	if err := v.strictly(strictFaults(what, issuer)...); err != nil {
		return err
	}
	if err := child.CheckSignatureFrom(issuer); err != nil {
		return refuseSignature(err, SignatureInvalid, "issue it again", what+" has not signed "+child.Subject.String())
	}
	return nil
}

// checkTime takes the start as part of the validity and the end not, as OpenSSL does; Go takes both.
func checkTime(what string, c *x509.Certificate, at time.Time) error {
	if at.Before(c.NotBefore) {
		return refuse(NotYetValid, "check the clock or issue it with an earlier start", "%s is valid from %s only", what, c.NotBefore.UTC().Format(time.RFC3339))
	}
	if !at.Before(c.NotAfter) {
		return refuse(Expired, "renew it", "%s has expired at %s", what, c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkWithStandardLibrary has crypto/x509 verify exactly this path. That adds path lengths, name
// constraints and unknown critical extensions to what is checked here.
func checkWithStandardLibrary(path []*x509.Certificate, usage Usage, at time.Time) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(path[len(path)-1])
	for _, c := range path[1 : len(path)-1] {
		intermediates.AddCert(c)
	}
	_, err := path[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage.extended()},
	})
	if err != nil {
		return refuse(ChainRefused, "issue it within what its issuers permit", "the chain breaks a constraint (%v)", err)
	}
	return nil
}

func checkName(leaf *x509.Certificate, host string) error {
	if host == "" || CoversName(leaf, host) {
		return nil
	}
	facts := Facts(leaf)
	return refuse(NameMissing, "issue it with that name", "the leaf is not for %q but for %q %q", host, facts.DNSNames, facts.IPs)
}

// isCA reports whether c calls itself a CA.
func isCA(c *x509.Certificate) bool { return c.BasicConstraintsValid && c.IsCA }

// checkSigner refuses what may not sign certificates. A certificate of version 1 cannot say that it is a CA; OpenSSL and Go
// take one that signed itself for it.
func checkSigner(what string, c *x509.Certificate, remedy string) error {
	if !isCA(c) && (c.Version != 1 || !namesItself(c)) {
		return refuse(NotCA, remedy, "%s is no CA", what)
	}
	if c.KeyUsage&x509.KeyUsageCertSign == 0 && extensionOf(c, idKeyUsage) != nil {
		return refuse(NotCA, "issue it with key usage keyCertSign", "%s is a CA without key usage keyCertSign", what)
	}
	return nil
}

// refuseSignature tells a weak digest from a wrong signature.
func refuseSignature(err error, reason Reason, remedy, fact string) error {
	if _, weak := errors.AsType[x509.InsecureAlgorithmError](err); weak {
		return refuse(AlgorithmUnsupported, "sign with SHA-256 or better", "%s (%v)", fact, err)
	}
	return refuse(reason, remedy, "%s (%v)", fact, err)
}
