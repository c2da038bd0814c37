package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
)

// The pair for Patroni's listener on the loopback address outlives every pod: it is made anew with the directory.
const (
	loopbackLife = 10 * 365 * 24 * time.Hour
	loopbackName = "localhost"
)

// ensureLoopbackPair returns the pair in dir and makes it when there is none that fits together. Patroni reads it once, at start.
func ensureLoopbackPair(dir string, now time.Time) (tls.Certificate, error) {
	certificateFile := filepath.Join(dir, filepath.Base(agentapi.LoopbackCertificate))
	keyFile := filepath.Join(dir, filepath.Base(agentapi.LoopbackKey))
	if pair, err := tls.LoadX509KeyPair(certificateFile, keyFile); err == nil {
		return pair, nil
	}
	certificatePEM, keyPEM, err := newLoopbackPair(now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the loopback pair: %w", err)
	}
	if err := replaceFile(keyFile, keyPEM); err != nil {
		return tls.Certificate{}, fmt.Errorf("writing the loopback key: %w", err)
	}
	if err := replaceFile(certificateFile, certificatePEM); err != nil {
		return tls.Certificate{}, fmt.Errorf("writing the loopback certificate: %w", err)
	}
	return tls.X509KeyPair(certificatePEM, keyPEM)
}

func newLoopbackPair(now time.Time) (certificatePEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: loopbackName},
		DNSNames:     []string{loopbackName},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(loopbackLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// replaceFile never leaves half a file under its name.
func replaceFile(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
