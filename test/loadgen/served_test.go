package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/test/loadgen/record"
)

func TestWatchServedPrintsEachSerialOnce(t *testing.T) {
	server := servePostgresTLS(t)
	server.present(0xbeef)
	input, names := io.Pipe()
	lines, output := io.Pipe()
	done := make(chan error, 1)
	go func() {
		defer func() { _ = output.Close() }()
		done <- runWatchServed(t.Context(), []target{server.target}, input, newPrinter(output))
	}()

	var serials []string
	err := record.Each(lines, func(l record.Line) {
		switch {
		case l.Kind == record.Failure:
			t.Errorf("failure: %s", l.Error)
		case l.Kind != record.Served:
		case l.Serial == "beef":
			serials = append(serials, l.Serial)
			_, _ = io.WriteString(names, server.target.name+"\n")
			server.present(0xcafe)
		default:
			serials = append(serials, l.Serial)
			_ = names.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"beef", "cafe"}, serials); diff != "" {
		t.Errorf("serials (-want +got):\n%s", diff)
	}
}

func TestServedSerialSaysThatTLSIsRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, 8))
		_, _ = conn.Write([]byte("N"))
	}()
	if _, err := servedSerial(t.Context(), targetOf(listener)); err == nil {
		t.Error("no error for a server that refuses TLS")
	}
}

// fakePostgres speaks enough of PostgreSQL to shake hands.
type fakePostgres struct {
	target      target
	certificate atomic.Pointer[tls.Certificate]
}

func servePostgresTLS(t *testing.T) *fakePostgres {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	server := &fakePostgres{target: targetOf(listener)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go server.serve(context.WithoutCancel(t.Context()), conn)
		}
	}()
	return server
}

func targetOf(listener net.Listener) target {
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	return target{name: "pod", host: host, port: port}
}

func (s *fakePostgres) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	request := make([]byte, 8)
	if _, err := io.ReadFull(conn, request); err != nil || !bytes.Equal(request, []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}) {
		return
	}
	_, _ = conn.Write([]byte("S"))
	_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.certificate.Load()}}).HandshakeContext(ctx)
}

func (s *fakePostgres) present(serial int64) {
	pair := pkitest.CA("server", pkitest.Serial(serial)).TLS()
	s.certificate.Store(&pair)
}
