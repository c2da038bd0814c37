package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"pgtls.dev/pgtls/test/loadgen/record"
)

const (
	closely        = 20 * time.Millisecond
	casually       = time.Second
	handshakeLimit = 15 * time.Second
)

// runWatchServed looks at every target until in ends or ctx does.
func runWatchServed(ctx context.Context, targets []target, in io.Reader, out *printer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watchers := map[string]*servedWatcher{}
	var running sync.WaitGroup
	for _, t := range targets {
		w := &servedWatcher{target: t, out: out, wake: make(chan struct{}, 1)}
		watchers[t.name] = w
		running.Go(func() { w.run(ctx) })
	}
	out.print(record.Line{Kind: record.Started})
	go func() {
		defer stop()
		for names := bufio.NewScanner(in); names.Scan(); {
			if w, ok := watchers[strings.TrimSpace(names.Text())]; ok {
				w.lookClosely()
			}
		}
	}()
	running.Wait()
	out.print(record.Line{Kind: record.Totals, Final: true})
	return nil
}

// A servedWatcher keeps asking one target for its certificate. It verifies
// nothing: it is there to see what is served, whatever it is.
type servedWatcher struct {
	target target
	out    *printer
	wake   chan struct{}
}

func (w *servedWatcher) lookClosely() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *servedWatcher) run(ctx context.Context) {
	var serial string
	pace := casually
	for ctx.Err() == nil {
		now, err := servedSerial(ctx, w.target)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.out.print(record.Line{Kind: record.Failure, Target: w.target.name, Error: err.Error()})
		case now != serial:
			serial, pace = now, casually
			w.out.print(record.Line{Kind: record.Served, Target: w.target.name, Serial: serial})
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
			pace = closely
		case <-time.After(pace):
		}
	}
}

// servedSerial is the serial number, lower-case hexadecimal, of the leaf that
// a PostgreSQL or PgBouncer serves after an SSLRequest.
func servedSerial(ctx context.Context, t target) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.address())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if err := requestTLS(conn); err != nil {
		return "", err
	}
	var serial string
	config := &tls.Config{
		ServerName:         t.host,
		InsecureSkipVerify: true, // see servedWatcher
		VerifyPeerCertificate: func(chain [][]byte, _ [][]*x509.Certificate) error {
			leaf, err := x509.ParseCertificate(chain[0])
			if err == nil {
				serial = fmt.Sprintf("%x", leaf.SerialNumber)
			}
			return err
		},
	}
	if err := tls.Client(conn, config).HandshakeContext(ctx); err != nil {
		return "", fmt.Errorf("shaking hands: %w", err)
	}
	return serial, nil
}

// requestTLS sends PostgreSQL's SSLRequest: length 8, code 80877103.
func requestTLS(conn net.Conn) error {
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		return fmt.Errorf("asking for TLS: %w", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("asking for TLS: %w", err)
	}
	if answer[0] != 'S' {
		return fmt.Errorf("asking for TLS: answered %q", answer[:])
	}
	return nil
}
