package agent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/pki"
)

// Material is one revision of the files, parsed: all key pairs belong together and both bundles can be read.
type Material struct {
	Revision      string
	Files         map[string][]byte
	Server        *pki.KeyPair // the agent's own servers present it
	Client        *pki.KeyPair
	Served        *pki.KeyPair // the process beside the agent serves it: Server, or a custom certificate
	Presented     *pki.KeyPair // PostgreSQL presents it to the primary: Client, or a custom certificate
	ServerAnchors []*x509.Certificate
	ClientAnchors []*x509.Certificate

	RevocationLists []*x509.RevocationList // none: PostgreSQL checks no client certificate against any

	serverTLS tls.Certificate
}

// materialFiles are all that a material must hold; it may hold RevocationLists besides, and nothing more.
func materialFiles() []string {
	return []string{
		agentapi.ServerCertificate, agentapi.ServerKey, agentapi.ClientCertificate, agentapi.ClientKey,
		agentapi.ServedCertificate, agentapi.ServedKey, agentapi.PresentedCertificate, agentapi.PresentedKey,
		agentapi.ServerBundle, agentapi.ClientBundle,
	}
}

// ParseMaterial reads the files. Whether the certificates verify depends on the time, see Material.Verify.
//
// Errors: *pki.Error, wrapped with the file's name.
func ParseMaterial(files map[string][]byte) (*Material, error) {
	if err := checkFileNames(files); err != nil {
		return nil, err
	}
	m := &Material{Revision: pki.Revision(files), Files: files}
	var err error
	for _, p := range m.pairs() {
		if *p.pair, err = pki.ParseKeyPair(files[p.certificate], files[p.key]); err != nil {
			return nil, fmt.Errorf("%s with %s: %w", p.certificate, p.key, err)
		}
	}
	if m.ServerAnchors, err = pki.ParseBundle(files[agentapi.ServerBundle]); err != nil {
		return nil, fmt.Errorf("%s: %w", agentapi.ServerBundle, err)
	}
	if m.ClientAnchors, err = pki.ParseBundle(files[agentapi.ClientBundle]); err != nil {
		return nil, fmt.Errorf("%s: %w", agentapi.ClientBundle, err)
	}
	if m.RevocationLists, err = revocationLists(files); err != nil {
		return nil, err
	}
	m.serverTLS = m.Server.TLS()
	return m, nil
}

// pair is a leaf with its key: where it stands, and what it is for.
type pair struct {
	pair             **pki.KeyPair
	certificate, key string
	usage            pki.Usage
}

func (m *Material) pairs() []pair {
	return []pair{
		{&m.Server, agentapi.ServerCertificate, agentapi.ServerKey, pki.ServerAuth},
		{&m.Client, agentapi.ClientCertificate, agentapi.ClientKey, pki.ClientAuth},
		{&m.Served, agentapi.ServedCertificate, agentapi.ServedKey, pki.ServerAuth},
		{&m.Presented, agentapi.PresentedCertificate, agentapi.PresentedKey, pki.ClientAuth},
	}
}

func checkFileNames(files map[string][]byte) error {
	for _, name := range materialFiles() {
		if _, ok := files[name]; !ok {
			return &pki.Error{Reason: pki.NoCertificate, Fact: "the file " + name + " is missing", Remedy: "let the operator write the material Secret anew"}
		}
	}
	if len(files) > len(materialFiles()) && !(len(files) == len(materialFiles())+1 && revokes(files)) {
		names := slices.Sorted(maps.Keys(files))
		return &pki.Error{Reason: pki.UnexpectedBlock, Fact: fmt.Sprintf("there are more files than a material has (%q)", names), Remedy: "remove what does not belong there"}
	}
	return nil
}

// Verify tells whether each leaf would be accepted, at a time, by verifiers that hold the bundle of its trust domain in the same material. A
// custom certificate need not be as strict as the cluster's own.
//
// Errors: *pki.Error, wrapped with the file's name.
func (m *Material) Verify(at time.Time) error {
	anchors := map[pki.Usage][]*x509.Certificate{pki.ServerAuth: m.ServerAnchors, pki.ClientAuth: m.ClientAnchors}
	for _, p := range m.pairs() {
		request := pki.VerifyRequest{Chain: (*p.pair).Chain, Anchors: anchors[p.usage], At: at, Usage: p.usage, Lenient: m.external(*p.pair)}
		if err := pki.Verify(request); err != nil {
			return fmt.Errorf("%s: %w", p.certificate, err)
		}
	}
	return m.verifyRevocationLists(at)
}

// external reports whether a pair is none of the cluster's own: the process presents a custom certificate.
func (m *Material) external(pair *pki.KeyPair) bool {
	same := func(own *pki.KeyPair) bool { return slices.EqualFunc(pair.Chain, own.Chain, (*x509.Certificate).Equal) }
	return !same(m.Server) && !same(m.Client)
}

// candidate is what the decision needs to know of the material.
func (m *Material) candidate(at time.Time) *Candidate {
	return &Candidate{Revision: m.Revision, Server: lifeOf(m.Server, m.Served), Client: lifeOf(m.Client, m.Presented), Refusal: m.Verify(at)}
}

// lifeOf is the life of the leaf that ends first.
func lifeOf(a, b *pki.KeyPair) Life {
	first := a.Leaf()
	if leaf := b.Leaf(); leaf.NotAfter.Before(first.NotAfter) {
		first = leaf
	}
	return Life{From: first.NotBefore, Until: first.NotAfter}
}

func leafOf(leaf *x509.Certificate) *agentapi.Leaf {
	facts := pki.Facts(leaf)
	return &agentapi.Leaf{Serial: facts.Serial, NotAfter: facts.NotAfter}
}

func fingerprints(anchors []*x509.Certificate) []string {
	var prints []string
	for _, anchor := range anchors {
		prints = append(prints, pki.Facts(anchor).Fingerprint)
	}
	return prints
}
