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

// Material is one revision of the files, parsed: both key pairs belong together and both bundles can be read.
type Material struct {
	Revision      string
	Files         map[string][]byte
	Server        *pki.KeyPair
	Client        *pki.KeyPair
	ServerAnchors []*x509.Certificate
	ClientAnchors []*x509.Certificate

	serverTLS tls.Certificate
}

// materialFiles are all that a material holds, no more and no fewer.
func materialFiles() []string {
	return []string{
		agentapi.ServerCertificate, agentapi.ServerKey, agentapi.ClientCertificate, agentapi.ClientKey,
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
	if m.Server, err = pki.ParseKeyPair(files[agentapi.ServerCertificate], files[agentapi.ServerKey]); err != nil {
		return nil, fmt.Errorf("%s with %s: %w", agentapi.ServerCertificate, agentapi.ServerKey, err)
	}
	if m.Client, err = pki.ParseKeyPair(files[agentapi.ClientCertificate], files[agentapi.ClientKey]); err != nil {
		return nil, fmt.Errorf("%s with %s: %w", agentapi.ClientCertificate, agentapi.ClientKey, err)
	}
	if m.ServerAnchors, err = pki.ParseBundle(files[agentapi.ServerBundle]); err != nil {
		return nil, fmt.Errorf("%s: %w", agentapi.ServerBundle, err)
	}
	if m.ClientAnchors, err = pki.ParseBundle(files[agentapi.ClientBundle]); err != nil {
		return nil, fmt.Errorf("%s: %w", agentapi.ClientBundle, err)
	}
	m.serverTLS = tlsCertificate(m.Server)
	return m, nil
}

func checkFileNames(files map[string][]byte) error {
	for _, name := range materialFiles() {
		if _, ok := files[name]; !ok {
			return &pki.Error{Reason: pki.NoCertificate, Fact: "the file " + name + " is missing", Remedy: "let the operator write the material Secret anew"}
		}
	}
	if len(files) > len(materialFiles()) {
		names := slices.Sorted(maps.Keys(files))
		return &pki.Error{Reason: pki.UnexpectedBlock, Fact: fmt.Sprintf("there are more files than a material has (%q)", names), Remedy: "remove what does not belong there"}
	}
	return nil
}

func tlsCertificate(pair *pki.KeyPair) tls.Certificate {
	certificate := tls.Certificate{PrivateKey: pair.Key, Leaf: pair.Leaf()}
	for _, c := range pair.Chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return certificate
}

// Verify tells whether each leaf would be accepted, at a time, by those who hold the bundle of its trust domain in the same material.
//
// Errors: *pki.Error, wrapped with the file's name.
func (m *Material) Verify(at time.Time) error {
	server := pki.VerifyRequest{Chain: m.Server.Chain, Anchors: m.ServerAnchors, At: at, Usage: pki.ServerAuth}
	if err := pki.Verify(server); err != nil {
		return fmt.Errorf("%s: %w", agentapi.ServerCertificate, err)
	}
	client := pki.VerifyRequest{Chain: m.Client.Chain, Anchors: m.ClientAnchors, At: at, Usage: pki.ClientAuth}
	if err := pki.Verify(client); err != nil {
		return fmt.Errorf("%s: %w", agentapi.ClientCertificate, err)
	}
	return nil
}

// candidate is what the decision needs to know of the material.
func (m *Material) candidate(at time.Time) *Candidate {
	return &Candidate{Revision: m.Revision, Server: lifeOf(m.Server.Leaf()), Client: lifeOf(m.Client.Leaf()), Refusal: m.Verify(at)}
}

func lifeOf(leaf *x509.Certificate) Life { return Life{From: leaf.NotBefore, Until: leaf.NotAfter} }

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
