package pages

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// Vault is a stand-in for the PKI engine of Vault's HTTP API: as much of it as a page uses, with its answers' fields.
type Vault struct {
	mu     sync.Mutex
	mounts map[string]*mount
}

type mount struct {
	issuer *pkitest.Certificate // nil: none yet; without certificate: the request is not signed yet
	roles  map[string]parameters
}

// parameters of a request, which are text or booleans.
type parameters map[string]string

// ServeHTTP answers /v1/<mount>/<what to do>.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	in := parameters{}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, nil, fmt.Errorf("parsing the request: %w", err))
		return
	}
	data, err := v.handle(strings.TrimPrefix(r.URL.Path, "/v1/"), in)
	answer(w, data, err)
}

func answer(w http.ResponseWriter, data map[string]any, err error) {
	body := map[string]any{"data": data}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		body = map[string]any{"errors": []string{err.Error()}}
		w.WriteHeader(http.StatusBadRequest)
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (v *Vault) handle(path string, in parameters) (map[string]any, error) {
	if name, isMount := strings.CutPrefix(path, "sys/mounts/"); isMount {
		return nil, v.handleMount(name, in)
	}
	name, act, _ := strings.Cut(path, "/")
	m := v.mounts[name]
	if m == nil {
		return nil, fmt.Errorf("no handler for route %q", path)
	}
	kind, role, _ := strings.Cut(act, "/")
	switch {
	case act == "root/generate/internal":
		return m.generateRoot(in)
	case act == "intermediate/generate/internal":
		return m.generateIntermediate(in)
	case act == "root/sign-intermediate":
		return m.signIntermediate(in)
	case act == "intermediate/set-signed":
		return nil, m.setSigned(in)
	case kind == "roles":
		m.roles[role] = in
		return nil, nil
	case kind == "sign":
		return m.signRequest(role, in)
	case kind == "issue":
		return m.issue(role, in)
	}
	return nil, fmt.Errorf("unsupported path %q", path)
}

func (v *Vault) handleMount(name string, in parameters) error {
	if name, isTune := strings.CutSuffix(name, "/tune"); isTune {
		if v.mounts[name] == nil {
			return fmt.Errorf("no mount at %s", name)
		}
		return nil
	}
	if v.mounts[name] != nil || in["type"] != "pki" {
		return fmt.Errorf("path is already in use at %s/, or no pki", name)
	}
	if v.mounts == nil {
		v.mounts = map[string]*mount{}
	}
	v.mounts[name] = &mount{roles: map[string]parameters{}}
	return nil
}

func (m *mount) generateRoot(in parameters) (map[string]any, error) {
	life, err := in.life()
	if err != nil {
		return nil, err
	}
	m.issuer = newIssuer(in["common_name"], nil, life)
	text := encodeCertificate(m.issuer)
	return map[string]any{"certificate": text, "issuing_ca": text}, nil
}

func (m *mount) generateIntermediate(in parameters) (map[string]any, error) {
	key := pkitest.ECKey()
	m.issuer = &pkitest.Certificate{Key: key}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: in["common_name"]}}, key)
	return map[string]any{"csr": encode("CERTIFICATE REQUEST", der)}, err
}

func (m *mount) signIntermediate(in parameters) (map[string]any, error) {
	request, life, err := in.request()
	if err != nil {
		return nil, err
	}
	return m.answerWith(authority(request.Subject), life, pkitest.PublicKey(request.PublicKey))
}

func (m *mount) setSigned(in parameters) error {
	der, err := decode(in["certificate"])
	if err != nil {
		return err
	}
	m.issuer.Certificate, err = x509.ParseCertificate(der)
	return err
}

func (m *mount) signRequest(role string, in parameters) (map[string]any, error) {
	request, life, err := in.request()
	if err != nil {
		return nil, err
	}
	made, err := m.leafFor(role, request.Subject.CommonName, request.DNSNames, in)
	if err != nil {
		return nil, err
	}
	return m.answerWith(made, life, pkitest.PublicKey(request.PublicKey))
}

func (m *mount) issue(role string, in parameters) (map[string]any, error) {
	life, err := in.life()
	if err != nil {
		return nil, err
	}
	made, err := m.leafFor(role, in["common_name"], strings.Split(in["alt_names"], ","), in)
	if err != nil {
		return nil, err
	}
	key := pkitest.ECKey()
	data, err := m.answerWith(made, life, pkitest.Key(key))
	if err != nil {
		return nil, err
	}
	text := encodeKey(&pkitest.Certificate{Key: key})
	data["private_key"] = text
	if in["format"] == "pem_bundle" {
		data["certificate"] = text + "\n" + data["certificate"].(string) + "\n" + encodeCertificate(m.issuer)
	}
	return data, nil
}

// leafFor applies a role.
func (m *mount) leafFor(name, commonName string, dnsNames []string, in parameters) (maker, error) {
	role := m.roles[name]
	if role == nil {
		return nil, fmt.Errorf("unknown role: %s", name)
	}
	if in["exclude_cn_from_sans"] != "true" {
		dnsNames = append(slices.Clone(dnsNames), commonName)
	}
	for _, dnsName := range append(slices.Clone(dnsNames), commonName) {
		if !role.allows(dnsName) {
			return nil, fmt.Errorf("subject alternate name %s not allowed by this role", dnsName)
		}
	}
	usage := x509.ExtKeyUsageServerAuth
	if role["client_flag"] == "true" {
		usage = x509.ExtKeyUsageClientAuth
	}
	return leaf(commonName, dnsNames, usage), nil
}

func (p parameters) allows(name string) bool {
	if strings.HasPrefix(name, "*.") && p["allow_wildcard_certificates"] != "true" {
		return false
	}
	return slices.ContainsFunc(strings.Split(p["allowed_domains"], ","), func(domain string) bool {
		return p["allow_bare_domains"] == "true" && name == domain || p["allow_subdomains"] == "true" && strings.HasSuffix(name, "."+domain)
	})
}

func (m *mount) answerWith(made maker, life time.Duration, key pkitest.Option) (map[string]any, error) {
	if m.issuer == nil || m.issuer.Certificate == nil {
		return nil, fmt.Errorf("unable to fetch signing certificate: no default issuer currently configured")
	}
	issuing := encodeCertificate(m.issuer)
	return map[string]any{"certificate": encodeCertificate(made(m.issuer, key, lasting(life))), "issuing_ca": issuing, "ca_chain": []string{issuing}}, nil
}

func (p parameters) request() (*x509.CertificateRequest, time.Duration, error) {
	der, err := decode(p["csr"])
	if err != nil {
		return nil, 0, err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, 0, err
	}
	life, err := p.life()
	return request, life, err
}

func (p parameters) life() (time.Duration, error) { return time.ParseDuration(p["ttl"]) }
