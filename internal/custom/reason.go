package custom

import "pgtls.dev/pgtls/internal/pki"

// Reason says in one CamelCase word what was found. It is the same word in conditions, events, metrics and logs, and where
// package pki has it too it means the same. The set is closed: see Reasons.
type Reason string

// What package pki says about a text, a certificate or a chain.
const (
	NotPEM                = Reason(pki.NotPEM)
	TrailingGarbage       = Reason(pki.TrailingGarbage)
	TooLarge              = Reason(pki.TooLarge)
	UnexpectedBlock       = Reason(pki.UnexpectedBlock)
	CertificateMalformed  = Reason(pki.CertificateMalformed)
	NoCertificate         = Reason(pki.NoCertificate)
	KeyMissing            = Reason(pki.KeyMissing)
	KeyEncrypted          = Reason(pki.KeyEncrypted)
	KeyMalformed          = Reason(pki.KeyMalformed)
	KeyMismatch           = Reason(pki.KeyMismatch)
	AlgorithmUnsupported  = Reason(pki.AlgorithmUnsupported)
	NotCA                 = Reason(pki.NotCA)
	IsCA                  = Reason(pki.IsCA)
	NotSelfSigned         = Reason(pki.NotSelfSigned)
	KeyIdentifierMissing  = Reason(pki.KeyIdentifierMissing)
	Expired               = Reason(pki.Expired)
	NotYetValid           = Reason(pki.NotYetValid)
	ValidityMalformed     = Reason(pki.ValidityMalformed)
	UnknownAuthority      = Reason(pki.UnknownAuthority)
	SignatureInvalid      = Reason(pki.SignatureInvalid)
	ChainRefused          = Reason(pki.ChainRefused)
	NameMissing           = Reason(pki.NameMissing)
	NameMalformed         = Reason(pki.NameMalformed)
	UsageMissing          = Reason(pki.UsageMissing)
	LeafOutlivesAuthority = Reason(pki.LeafOutlivesAuthority)
)

// What only a user's Secret can have.
const (
	ItemsMalformed   Reason = "ItemsMalformed"   // the items of the projection do not give the files that are needed
	SelfSigned       Reason = "SelfSigned"       // a certificate that is its own authority
	IdentityMismatch Reason = "IdentityMismatch" // a client's common name is not one that may replicate
	ExpiresSoon      Reason = "ExpiresSoon"      // something on the path ends within the renewal window
	EqualLives       Reason = "EqualLives"       // an authority that lives no longer than what it signs
	ChainRearranged  Reason = "ChainRearranged"  // issuers were put in order, or taken out of ca.crt
	PeerUntrusted    Reason = "PeerUntrusted"    // the anchors in the other Secret do not accept this certificate
	Duplicate        Reason = "Duplicate"        // a trust anchor that is there twice

	// StrictVerifiersRefuse: it works with OpenSSL's default flags and with Go, and some clients look closer.
	StrictVerifiersRefuse Reason = "StrictVerifiersRefuse"
)

// Reasons returns the whole set, in a fixed order.
func Reasons() []Reason {
	return []Reason{
		ItemsMalformed, NotPEM, TrailingGarbage, TooLarge, UnexpectedBlock, CertificateMalformed, NoCertificate,
		KeyMissing, KeyEncrypted, KeyMalformed, KeyMismatch,
		AlgorithmUnsupported, NotCA, IsCA, NotSelfSigned, KeyIdentifierMissing, Expired, NotYetValid, ValidityMalformed,
		UnknownAuthority, SignatureInvalid, ChainRefused, NameMissing, NameMalformed, UsageMissing, LeafOutlivesAuthority,
		SelfSigned, IdentityMismatch, ExpiresSoon, EqualLives, ChainRearranged, PeerUntrusted, Duplicate, StrictVerifiersRefuse,
	}
}
