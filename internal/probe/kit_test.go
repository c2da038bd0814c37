package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

var start = time.Now()

// domain is an authority with what it issues.
type domain struct {
	t         testing.TB
	authority *pki.Authority
}

func newDomain(t testing.TB, name string) domain {
	t.Helper()
	authority, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: name, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return domain{t, authority}
}

func (d domain) issue(r pki.LeafRequest) tls.Certificate {
	d.t.Helper()
	if r.NotBefore.IsZero() {
		r.NotBefore, r.NotAfter = start.Add(-time.Minute), start.Add(time.Hour)
	}
	pair, err := d.authority.Issue(r)
	if err != nil {
		d.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{pair.Leaf().Raw}, PrivateKey: pair.Key, Leaf: pair.Leaf()}
}

func (d domain) server(names ...string) tls.Certificate {
	return d.issue(pki.LeafRequest{CommonName: "server", DNSNames: names, Usage: pki.ServerAuth})
}

func (d domain) client(identity string) *tls.Certificate {
	certificate := d.issue(pki.LeafRequest{CommonName: identity, Usage: pki.ClientAuth})
	return &certificate
}

func (d domain) anchors() []*x509.Certificate { return []*x509.Certificate{d.authority.Certificate} }

func (d domain) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(d.authority.Certificate)
	return pool
}

// listen runs handle for each connection until the test ends.
func listen(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				handle(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// postgresOf is a server that speaks as much of PostgreSQL as a probe hears: SSLRequest, TLS, the first answer.
func postgresOf(config *tls.Config, answer []byte) func(net.Conn) {
	return func(conn net.Conn) {
		if _, code := readStartup(conn); code != sslRequestCode {
			return
		}
		_, _ = conn.Write([]byte("S"))
		secured := tls.Server(conn, config)
		if _, code := readStartup(secured); code == protocolVersion {
			_, _ = secured.Write(answer)
			_, _ = io.Copy(io.Discard, secured)
		}
	}
}

func readStartup(r io.Reader) (body []byte, code uint32) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, 0
	}
	body = make([]byte, binary.BigEndian.Uint32(header[:4])-8)
	_, _ = io.ReadFull(r, body)
	return body, binary.BigEndian.Uint32(header[4:])
}

// authenticationOK and failure are first answers.
func authenticationOK() []byte {
	return []byte("R\x00\x00\x00\x08\x00\x00\x00\x00" + "S\x00\x00\x00\x08a\x00b\x00" + "Z\x00\x00\x00\x05I")
}

func failure(sqlState, message string) []byte {
	body := "SFATAL\x00C" + sqlState + "\x00M" + message + "\x00\x00"
	return append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4)), body...)
}

func within(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// says answers the first request with a fixed text and hangs up.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 512))
		_, _ = conn.Write([]byte(text))
	}
}
