package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"pgtls.dev/pgtls/internal/pki"
)

// Reason says why a probe did not end well. The set is closed.
type Reason string

// Why a probe did not end well, in the order in which things can go wrong.
const (
	Refused           Reason = "Refused"           // no TCP connection: no listener, no route, no such name
	TimedOut          Reason = "TimedOut"          // the context ended first
	Plaintext         Reason = "Plaintext"         // the server offers no TLS
	UnexpectedReply   Reason = "UnexpectedReply"   // the server speaks something else, or hung up
	HandshakeFailed   Reason = "HandshakeFailed"   // no common version or algorithm, or the server broke the handshake off
	Untrusted         Reason = "Untrusted"         // the chain does not verify against the anchors; the pki.Reason is below
	NameMismatch      Reason = "NameMismatch"      // the leaf is for other names
	ClientRefused     Reason = "ClientRefused"     // the server does not accept the client certificate or its role
	PlaintextAccepted Reason = "PlaintextAccepted" // the server goes on without TLS, see PlaintextRefused
)

// Reasons returns the whole set, in a fixed order.
func Reasons() []Reason {
	return []Reason{Refused, TimedOut, Plaintext, UnexpectedReply, HandshakeFailed, Untrusted, NameMismatch, ClientRefused, PlaintextAccepted}
}

// Error is a probe that did not end well.
type Error struct {
	Reason  Reason
	Address string
	Err     error // what was found; never nil
}

// Error returns "probing <address>: <reason>: <what was found>".
func (e *Error) Error() string { return fmt.Sprintf("probing %s: %s: %v", e.Address, e.Reason, e.Err) }

// Unwrap returns what was found: a *pki.Error under Untrusted and NameMismatch.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the Reason of the first *Error in err's tree, or "" when there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// classify gives err a reason: that of the context when it has ended, that of the verification when it
// failed, and otherwise what the caller says about its stage.
func classify(ctx context.Context, address string, stage Reason, err error) error {
	reason := stage
	switch {
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		reason = TimedOut
	case pki.ReasonOf(err) == pki.NameMissing:
		reason = NameMismatch
	case pki.ReasonOf(err) != "":
		reason = Untrusted
	case isCertificateAlert(err):
		reason = ClientRefused
	}
	return &Error{Reason: reason, Address: address, Err: err}
}

// isCertificateAlert reports whether the server sent an alert about our certificate. crypto/tls
// does not export the type, so its words must do: RFC 8446 section 6.2 calls these alerts bad_certificate,
// unsupported_certificate, certificate_revoked, certificate_expired, certificate_unknown, unknown_ca and
// certificate_required, and crypto/tls prints "certificate" in each of them.
func isCertificateAlert(err error) bool {
	remote, ok := errors.AsType[*net.OpError](err)
	return ok && remote.Op == "remote error" && strings.Contains(remote.Err.Error(), "certificate")
}
