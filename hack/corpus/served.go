package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"time"
)

// sslRequest asks a PostgreSQL for TLS (protocol 3.0).
var sslRequest = []byte{0, 0, 0, 8, 4, 210, 22, 47}

// servedLeaf returns the certificate that a server presents, of any issuer.
func servedLeaf(address string) ([]byte, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(sslRequest); err != nil {
		return nil, err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		return nil, fmt.Errorf("the server answers SSLRequest with %q: %w", answer, err)
	}
	var leaf []byte
	client := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, // libpq has verified; here it only matters which one it is
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			leaf = raw[0]
			return nil
		},
	})
	if err := client.Handshake(); err != nil {
		return nil, fmt.Errorf("looking at what is served: %w", err)
	}
	return leaf, nil
}
