package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/pki/pkitest"
	"pgtls.dev/pgtls/internal/postgres/pgtest"
)

// names of authorities as companies give them.
var namesOfCompanies = map[string]pkix.Name{
	"plain":         {CommonName: "Company CA"},
	"many parts":    {Country: []string{"CH"}, Province: []string{"Zug"}, Locality: []string{"Zug"}, Organization: []string{"Company"}, OrganizationalUnit: []string{"PKI", "DB"}, CommonName: "Root"},
	"comma":         {Organization: []string{"Company, Inc."}, CommonName: "Root"},
	"marks":         {Organization: []string{`a+b "c" <d> e;f \g =h /i`}, CommonName: "#Root "},
	"letters":       {Organization: []string{"Société Générale"}, CommonName: "Würzburg CA"},
	"long":          {Organization: []string{"A company whose name is longer than most"}, CommonName: "Its authority for the databases, second generation"},
	"long, letters": {Organization: []string{"Ein Betrieb mit längerem Namen als üblich, und noch längerem"}, CommonName: "Würzburg"},
	"rare parts": {CommonName: "Root", ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 97}, Value: "VATCH-1"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 12}, Value: "Dr"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 42}, Value: "Ann"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 4}, Value: "Lee"},
		{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "example"},
	}},
}

// TestANameIsWrittenAsPostgreSQLWritesIt: by what a real one says.
func TestANameIsWrittenAsPostgreSQLWritesIt(t *testing.T) {
	server := pgtest.Prepare(t)
	clients, issuers := map[string]tls.Certificate{}, map[string]pkix.Name{}
	var bundle []*x509.Certificate
	for name, subject := range namesOfCompanies {
		authority := namedAuthority(subject)
		bundle, issuers[name] = append(bundle, authority.Certificate), authority.Certificate.Subject
		pair, err := authority.Issue(pki.LeafRequest{CommonName: "postgres", Usage: pki.ClientAuth, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		clients[name] = pair.TLS()
	}
	own, err := pki.NewAuthority(pki.AuthorityRequest{CommonName: "own", NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := own.Issue(pki.LeafRequest{CommonName: "x", DNSNames: []string{"localhost"}, Usage: pki.ServerAuth, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.EncodeKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"server.crt": pair.EncodeChain(), "server.key": key, "ca.crt": pki.EncodeBundle(bundle)} {
		path := filepath.Join(server.DataDir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		server.Own(t, path)
	}
	server.Start(t, pgtest.Options{Settings: map[string]string{"ssl": "on", "ssl_ca_file": "ca.crt"}, HBA: []string{"hostssl all all all cert"}})
	for name, certificate := range clients {
		t.Run(name, func(t *testing.T) {
			conn, err := Connect(t.Context(), Server{
				Host: "127.0.0.1", Port: server.Port, User: "postgres", Database: "postgres",
				TLS: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Query(t.Context(), "SET application_name = '"+name+"'"); err != nil {
				t.Fatal(err)
			}
			sessions, err := Sessions(t.Context(), conn)
			i := slices.IndexFunc(sessions, func(s Session) bool { return s.Application == name })
			if i < 0 {
				t.Fatalf("it does not tell of this session: %+v, %v", sessions, err)
			}
			if got := OneLineName(issuers[name]); got != sessions[i].IssuerDN {
				t.Errorf("PostgreSQL calls it %q, and we %q", sessions[i].IssuerDN, got)
			}
		})
	}
}

func namedAuthority(name pkix.Name) *pki.Authority {
	made := pkitest.CA("", pkitest.Subject(name))
	return &pki.Authority{Certificate: made.Certificate, Key: made.Key}
}
