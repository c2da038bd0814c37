package custom_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// crowd is a leaf for the key, and 99 authorities with the key and the name of its issuer.
func crowd(t *testing.T, keyPEM []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(keyPEM)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(crypto.Signer)
	// Two names, so that no certificate is self-signed: each says that the other issued it.
	ping := &x509.Certificate{Subject: pkix.Name{CommonName: "ping"}, SubjectKeyId: []byte("same"), NotBefore: epoch.AddDate(0, 0, -1), NotAfter: epoch.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	pong := *ping
	pong.Subject.CommonName = "pong"
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}, NotBefore: ping.NotBefore, NotAfter: ping.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature}
	var list []*x509.Certificate
	for i := range 100 {
		template, parent := leaf, ping
		if i > 0 {
			template, parent = []*x509.Certificate{ping, &pong}[i%2], []*x509.Certificate{&pong, ping}[i%2]
		}
		list = append(list, pkitest.Sign(template, key, &pkitest.Certificate{Certificate: parent, Key: key}).Certificate)
	}
	return pkitest.Encode(list...)
}
