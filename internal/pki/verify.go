package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"time"
)

// VerifyRequest asks whether a verifier that holds Anchors accepts Chain at a time.
type VerifyRequest struct {
	Chain   []*x509.Certificate // as presented: leaf first, each next one the issuer of the one before
	Anchors []*x509.Certificate // self-signed CAs
	At      time.Time           // must not be zero
	Usage   Usage               // ServerAuth or ClientAuth: what the leaf is presented as
	DNSName string              // host name or IP address that the client connects to; "" checks no name
}

// Verify returns nil only when libpq, PostgreSQL, PgBouncer and Go's TLS would all accept the chain.
// Beyond crypto/x509 it demands what OpenSSL demands, and more where OpenSSL's answer depends on the order
// of things:
//
//   - Every anchor is a self-signed CA, also those that the path does not use: OpenSSL prefers any certificate in
//     its store to the presented ones, and so a stray one can lead it into a dead end.
//   - The authority key identifier equals the issuer's subject key identifier all along the path, and
//     both are there. Name and key alone do not make an issuer.
//   - Presented issuers are in order. Certificates behind the first that an anchor issued are not looked at.
//   - The end of the validity is exclusive, as in OpenSSL.
//   - The leaf's usage is named, and anyExtendedKeyUsage does not name it. Key usage, when present, has digitalSignature.
//   - A server's leaf is not Ed25519 in key or signature (SCRAM channel binding fails).
//   - Extensions are as RFC 5280 has them, in all that is on the path: see checkExtensions.
//   - Names match by libpq's rules, without its fallback to the common name.
//
// Errors: NoCertificate, UsageMissing, ValidityMalformed (no time given), IsCA, NotCA, NotSelfSigned, KeyIdentifierMissing,
// AlgorithmUnsupported, Expired, NotYetValid, UnknownAuthority, SignatureInvalid, ChainRefused, NameMissing.
func Verify(r VerifyRequest) error {
	if err := checkRequest(r); err != nil {
		return err
	}
	for _, anchor := range r.Anchors {
		if err := CheckAnchor(anchor); err != nil {
			return err
		}
	}
	if err := checkLeaf(r.Chain[0], r.Usage, r.At); err != nil {
		return err
	}
	path, err := buildPath(r.Chain, r.Anchors, r.At)
	if err != nil {
		return err
	}
	if err := checkExtensions("the leaf", path[0], r.Usage); err != nil {
		return err
	}
	for i, issuer := range path[1:] {
		if err := checkLink(path[i], issuer, r.Usage, r.At); err != nil {
			return err
		}
		if err := checkNameConstraints(path[0], issuer); err != nil {
			return err
		}
	}
	if err := checkWithStandardLibrary(path, r.Usage, r.At); err != nil {
		return err
	}
	return checkName(path[0], r.DNSName)
}

// CheckAnchor refuses what Verify would refuse among its anchors, whatever the chain. The time is not looked at.
//
// Errors: NotCA, AlgorithmUnsupported, KeyIdentifierMissing, NotSelfSigned.
func CheckAnchor(c *x509.Certificate) error {
	return checkAnchor("trust anchor "+c.Subject.String(), c)
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

// checkAnchor accepts what OpenSSL ends a path at: a CA that signed itself, with its key identifier.
// Its time is not looked at here, since an expired anchor that nothing depends on does no harm. SHA-1 in its own
// signature passes, as everywhere: nobody's trust rests on it.
func checkAnchor(what string, c *x509.Certificate) error {
	const remedy = "keep only self-signed CA certificates as trust anchors and put intermediates into the chain"
	if err := checkSigner(what, c, remedy); err != nil {
		return err
	}
	if err := checkKeyAlgorithm(what, c.PublicKey); err != nil {
		return err
	}
	if len(c.SubjectKeyId) == 0 {
		return refuse(KeyIdentifierMissing, "issue it with a subject key identifier", "%s has no subject key identifier", what)
	}
	if !namesItself(c) {
		return refuse(NotSelfSigned, remedy, "%s was issued by %s", what, c.Issuer)
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return refuseSignature(err, NotSelfSigned, remedy, what+" does not carry its own signature")
	}
	return nil
}

func checkLeaf(leaf *x509.Certificate, usage Usage, at time.Time) error {
	if isCA(leaf) {
		return refuse(IsCA, "present a leaf first", "the first certificate (%s) is a CA", leaf.Subject)
	}
	if err := checkKeyAlgorithm("the leaf", leaf.PublicKey); err != nil {
		return err
	}
	if usage == ServerAuth {
		if err := checkServerAlgorithm(leaf); err != nil {
			return err
		}
	}
	if err := checkTime("the leaf", leaf, at); err != nil {
		return err
	}
	if !usageOf(leaf).Has(usage) {
		return refuse(UsageMissing, "issue it for that usage", "the leaf is for %q and not for %q", usageOf(leaf), usage)
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return refuse(UsageMissing, "issue it with key usage digitalSignature", "the leaf's key may not sign handshakes")
	}
	return nil
}

// buildPath walks from the leaf to the first anchor. Like OpenSSL it looks among the anchors first, and like
// OpenSSL it never goes back to try another issuer.
func buildPath(chain, anchors []*x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	path := chain[:1:1]
	for i, child := range chain {
		if len(child.AuthorityKeyId) == 0 {
			return nil, refuse(KeyIdentifierMissing, "issue it with an authority key identifier", "certificate %d (%s) has no authority key identifier", i+1, child.Subject)
		}
		anchor, err := anchorOf(child, anchors, at)
		if err != nil {
			return nil, err
		}
		if anchor != nil {
			return append(path, anchor), nil
		}
		if namesItself(child) {
			break // as OpenSSL does: what follows may well be a bridge, but it is too late for it
		}
		if i+1 < len(chain) {
			if !namesIssuer(child, chain[i+1]) {
				return nil, refuse(UnknownAuthority, "present each issuer right after what it issued",
					"certificate %d (%s) is not the issuer that certificate %d names (%s, key %x)", i+2, chain[i+1].Subject, i+1, child.Issuer, child.AuthorityKeyId)
			}
			path = append(path, chain[i+1])
		}
	}
	last := path[len(path)-1]
	return nil, refuse(UnknownAuthority, "add that authority to the bundle or the missing issuers to the chain",
		"no trust anchor has issued %s: it names %s, key %x", last.Subject, last.Issuer, last.AuthorityKeyId)
}

// anchorOf returns the anchor that child names as its issuer, one whose time is right if there is any, or nil.
// Two anchors of one name and identifier but with different keys make the answer depend on their order: refused.
func anchorOf(child *x509.Certificate, anchors []*x509.Certificate, at time.Time) (*x509.Certificate, error) {
	var found *x509.Certificate
	for _, anchor := range anchors {
		if !namesIssuer(child, anchor) {
			continue
		}
		if found == nil {
			found = anchor
			continue
		}
		if !bytes.Equal(found.RawSubjectPublicKeyInfo, anchor.RawSubjectPublicKeyInfo) {
			return nil, refuse(SignatureInvalid, "remove the wrong one from the bundle", "two trust anchors are called %s with the same key identifier but have different keys", anchor.Subject)
		}
		if checkTime("", found, at) != nil {
			found = anchor
		}
	}
	return found, nil
}

// namesIssuer reports whether child says that issuer issued it, by name and by key identifier.
func namesIssuer(child, issuer *x509.Certificate) bool {
	return bytes.Equal(child.RawIssuer, issuer.RawSubject) && bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId)
}

// namesItself reports whether c says that it is self-signed.
func namesItself(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && (len(c.AuthorityKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId))
}

// checkLink checks an issuer and that it really signed child.
func checkLink(child, issuer *x509.Certificate, usage Usage, at time.Time) error {
	what := "issuer " + issuer.Subject.String()
	if err := checkSigner(what, issuer, "issue from a CA"); err != nil {
		return err
	}
	if err := checkKeyAlgorithm(what, issuer.PublicKey); err != nil {
		return err
	}
	if err := checkTime(what, issuer, at); err != nil {
		return err
	}
	if err := checkExtensions(what, issuer, usage); err != nil {
		return err
	}
	if err := checkNamedIssuer(child, issuer); err != nil {
		return err
	}
	if !usageOf(issuer).Has(usage) {
		return refuse(UsageMissing, "use a CA without that restriction", "%s may issue for %q only", what, usageOf(issuer))
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

// checkSigner refuses what may not sign certificates. That includes a CA without key usage, as "openssl req -x509" makes
// it by default: OpenSSL's strict mode refuses it, and Python's ssl module since 3.13.
func checkSigner(what string, c *x509.Certificate, remedy string) error {
	if !isCA(c) {
		return refuse(NotCA, remedy, "%s is no CA", what)
	}
	if c.KeyUsage&x509.KeyUsageCertSign == 0 {
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
