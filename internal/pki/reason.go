package pki

import (
	"errors"
	"fmt"
)

// Reason says in one CamelCase word why material was refused. It is the same word in conditions,
// events, metrics and logs. The set is closed: see Reasons.
type Reason string

// What can be wrong with the text.
const (
	NotPEM               Reason = "NotPEM"               // no PEM at all, or a block that is cut or garbled
	TrailingGarbage      Reason = "TrailingGarbage"      // something outside the blocks that is no comment
	TooLarge             Reason = "TooLarge"             // beyond MaxInputBytes or MaxCertificates
	UnexpectedBlock      Reason = "UnexpectedBlock"      // a block of a kind, or one too many, that does not belong here
	CertificateMalformed Reason = "CertificateMalformed" // a block that holds no X.509 certificate
	NoCertificate        Reason = "NoCertificate"        // no certificate where one is needed
	KeyMissing           Reason = "KeyMissing"           // no private key where one is needed
	KeyEncrypted         Reason = "KeyEncrypted"         // a private key under a passphrase
	KeyMalformed         Reason = "KeyMalformed"         // a block that holds no private key
	KeyMismatch          Reason = "KeyMismatch"          // the private key of another certificate
)

// What can be wrong with a certificate, a chain or a request for one.
const (
	AlgorithmUnsupported  Reason = "AlgorithmUnsupported"  // a key or signature that some party cannot or should not use
	NotCA                 Reason = "NotCA"                 // must be a CA and is none
	IsCA                  Reason = "IsCA"                  // must be a leaf and is a CA
	NotSelfSigned         Reason = "NotSelfSigned"         // a trust anchor that another authority issued
	KeyIdentifierMissing  Reason = "KeyIdentifierMissing"  // no subject or authority key identifier
	Expired               Reason = "Expired"               // its time is over
	NotYetValid           Reason = "NotYetValid"           // its time has not come
	ValidityMalformed     Reason = "ValidityMalformed"     // it would end before it begins
	UnknownAuthority      Reason = "UnknownAuthority"      // no path to a trust anchor
	SignatureInvalid      Reason = "SignatureInvalid"      // not signed by the key of the named issuer
	ChainRefused          Reason = "ChainRefused"          // path length, name constraints or an unknown critical extension
	NameMissing           Reason = "NameMissing"           // a name that must be there is not
	NameMalformed         Reason = "NameMalformed"         // a name that some party cannot parse
	UsageMissing          Reason = "UsageMissing"          // not for this purpose: key usage or extended key usage
	LeafOutlivesAuthority Reason = "LeafOutlivesAuthority" // would still be valid when its authority no longer is
)

// What can be wrong with revocation lists.
const (
	RevocationListMissing   Reason = "RevocationListMissing"   // an authority has none where every one must have one
	RevocationListMalformed Reason = "RevocationListMalformed" // a block that holds no revocation list
	SerialMalformed         Reason = "SerialMalformed"         // a serial number that is none
)

// Reasons returns the whole set, in a fixed order.
func Reasons() []Reason {
	return []Reason{
		NotPEM, TrailingGarbage, TooLarge, UnexpectedBlock, CertificateMalformed, NoCertificate,
		KeyMissing, KeyEncrypted, KeyMalformed, KeyMismatch,
		AlgorithmUnsupported, NotCA, IsCA, NotSelfSigned, KeyIdentifierMissing, Expired, NotYetValid, ValidityMalformed,
		UnknownAuthority, SignatureInvalid, ChainRefused, NameMissing, NameMalformed, UsageMissing, LeafOutlivesAuthority,
		RevocationListMissing, RevocationListMalformed, SerialMalformed,
	}
}

// Error refuses material or a request: what is the case and what to do about it.
type Error struct {
	Reason Reason
	Fact   string // "certificate 2 is no CA"
	Remedy string // "leave only CA certificates in the bundle"
}

// Error returns "<fact>: <remedy>" in one line.
func (e *Error) Error() string { return e.Fact + ": " + e.Remedy }

// ReasonOf returns the Reason of the first *Error in err's tree, or "" when there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// refuse builds an *Error; fact is a format.
func refuse(reason Reason, remedy, fact string, args ...any) error {
	return &Error{Reason: reason, Fact: fmt.Sprintf(fact, args...), Remedy: remedy}
}
