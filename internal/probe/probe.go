package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Protocol is how a server comes to TLS.
type Protocol string

// The protocols.
const (
	Postgres  Protocol = "postgres"  // SSLRequest first
	PGBouncer Protocol = "pgbouncer" // the same on the wire
	HTTPS     Protocol = "https"     // TLS at once
)

// Target is what to dial and what to expect of it.
type Target struct {
	Address    string // host:port
	ServerName string // sent as SNI and checked against the leaf; "" checks no name
	Protocol   Protocol

	// Anchors that the chain must lead to at the time At. Without any the chain is only looked at.
	Anchors []*x509.Certificate
	At      time.Time
	Lenient bool // the chain may come from elsewhere: see pki.VerifyRequest

	// ClientCertificate to present. With it the probe reads a byte: for PostgreSQL and PgBouncer the
	// answer to a start-up as User to Database, for HTTPS the answer to HEAD Path.
	ClientCertificate *tls.Certificate
	User, Database    string
	Path              string // "" means /

	MinVersion uint16 // of TLS; 0 means 1.3
}

// Served is what a server presented.
type Served struct {
	Leaf    pki.CertificateFacts
	Chain   []*x509.Certificate // leaf first, as presented
	Version string              // "TLS 1.3"

	ClientRequested bool     // the server asked for a client certificate
	AcceptedIssuers []string // subject DNs that it named with it (RFC 2253, sorted); PostgreSQL does, PgBouncer does not
	// Answer of PostgreSQL or PgBouncer to the start-up: "Z" when logged in, "R" when it asks for a password as well,
	// or the SQLSTATE of an error that does not concern the client.
	Answer string
}

// Dial makes one connection, looks, and closes it. ctx bounds it as a whole.
//
// Errors: *Error. With Untrusted, NameMismatch and ClientRefused Served tells what was presented all the same.
func Dial(ctx context.Context, target Target) (Served, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.Address)
	if err != nil {
		return Served{}, classify(ctx, target.Address, Refused, err)
	}
	defer func() { _ = raw.Close() }() // nothing is lost with it
	release := bind(ctx, raw)
	defer release()

	if target.Protocol != HTTPS {
		if err := requestTLS(raw); err != nil {
			return Served{}, withAddress(ctx, target.Address, err)
		}
	}
	return handshake(ctx, raw, target)
}

// bind ends every read and write on conn when ctx does.
func bind(ctx context.Context, conn net.Conn) (release func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

func handshake(ctx context.Context, raw net.Conn, target Target) (Served, error) {
	var served Served
	conn := tls.Client(raw, clientConfig(target, &served))
	if err := conn.HandshakeContext(ctx); err != nil {
		return served, classify(ctx, target.Address, HandshakeFailed, err)
	}
	if target.ClientCertificate != nil {
		if err := readAnswer(conn, target, &served); err != nil {
			return served, withAddress(ctx, target.Address, err)
		}
	}
	return served, nil
}

// clientConfig verifies with package pki, which accepts nothing that OpenSSL refuses; crypto/x509 does.
func clientConfig(target Target, served *Served) *tls.Config {
	return &tls.Config{
		ServerName:             target.ServerName,
		MinVersion:             minVersion(target.MinVersion),
		InsecureSkipVerify:     true, // VerifyConnection below does it
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			served.Chain = state.PeerCertificates
			served.Leaf = pki.Facts(state.PeerCertificates[0])
			served.Version = tls.VersionName(state.Version)
			return verify(target, state.PeerCertificates)
		},
		GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			served.ClientRequested = true
			served.AcceptedIssuers = issuerNames(request.AcceptableCAs)
			if target.ClientCertificate == nil {
				return &tls.Certificate{}, nil
			}
			return target.ClientCertificate, nil
		},
	}
}

func minVersion(version uint16) uint16 {
	if version == 0 {
		return tls.VersionTLS13
	}
	return version
}

func verify(target Target, chain []*x509.Certificate) error {
	if len(target.Anchors) == 0 {
		return nil
	}
	return pki.Verify(pki.VerifyRequest{
		Chain: chain, Anchors: target.Anchors, At: target.At, Usage: pki.ServerAuth, DNSName: target.ServerName, Lenient: target.Lenient,
	})
}

// issuerNames leaves out what cannot be read: it is evidence, not a condition.
func issuerNames(encoded [][]byte) []string {
	var names []string
	for _, der := range encoded {
		var sequence pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &sequence); err != nil {
			continue
		}
		var name pkix.Name
		name.FillFromRDNSequence(&sequence)
		names = append(names, name.String())
	}
	slices.Sort(names)
	return names
}
