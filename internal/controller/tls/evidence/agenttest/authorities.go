package agenttest

import (
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// Authorities of both domains, to issue from.
type Authorities map[facts.Domain]*pki.Authority

// NewAuthorities makes the first generation of a cluster's.
func NewAuthorities(t *testing.T, cluster string, now time.Time) Authorities {
	t.Helper()
	out := Authorities{}
	for _, domain := range facts.Domains() {
		authority, err := pki.NewAuthority(pki.AuthorityRequest{
			CommonName: cluster + " " + string(domain) + " ca g1", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		out[domain] = authority
	}
	return out
}

// Leaf of a domain.
func (a Authorities) Leaf(t *testing.T, domain facts.Domain, commonName string, names ...string) *pki.KeyPair {
	t.Helper()
	authority := a[domain]
	usage := map[facts.Domain]pki.Usage{facts.Server: pki.ServerAuth, facts.Client: pki.ClientAuth}[domain]
	pair, err := authority.Issue(pki.LeafRequest{
		CommonName: commonName, DNSNames: names, Usage: usage,
		NotBefore: authority.Certificate.NotBefore, NotAfter: authority.Certificate.NotBefore.Add(100 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Material of a party with these leaves; nil: without.
func (a Authorities) Material(t *testing.T, server, client *pki.KeyPair) map[string][]byte {
	t.Helper()
	data := map[string][]byte{
		agentapi.ServerBundle: a[facts.Server].EncodeCertificate(),
		agentapi.ClientBundle: a[facts.Client].EncodeCertificate(),
	}
	put := func(pair *pki.KeyPair, certificate, key string) {
		if pair == nil {
			return
		}
		encoded, err := pair.EncodeKey()
		if err != nil {
			t.Fatal(err)
		}
		data[certificate], data[key] = pair.EncodeChain(), encoded
	}
	put(server, agentapi.ServerCertificate, agentapi.ServerKey)
	put(client, agentapi.ClientCertificate, agentapi.ClientKey)
	return data
}
