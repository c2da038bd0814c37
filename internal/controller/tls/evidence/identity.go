package evidence

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/postgres"
)

// Identity is the operator's certificate towards a cluster's pods, and the anchors that it trusts there.
type Identity struct {
	Certificate tls.Certificate
	Anchors     []*x509.Certificate
	Revision    string // another one whenever the others are
}

// Server is how the operator connects with the PostgreSQL of a pod. It may serve a certificate from elsewhere, so names are not
// verified (see nameToVerify), and what OpenSSL demands by default is enough.
func (i *Identity) Server(address, serverName string, now func() time.Time) postgres.Server {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         serverName,
		Certificates:       []tls.Certificate{i.Certificate},
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(state tls.ConnectionState) error {
			return pki.Verify(pki.VerifyRequest{Chain: state.PeerCertificates, Anchors: i.Anchors, At: now(), Usage: pki.ServerAuth, Lenient: true})
		},
	}
	return postgres.Server{Host: address, User: agentapi.OperatorIdentity, Database: "postgres", TLS: config}
}
