package corpus

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"time"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// maker makes certificates for one role.
type maker struct {
	now    time.Time
	role   custom.Role
	hosts  []string // of a server
	common string   // of a client
}

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// recipe is a certificate before it is signed.
type recipe struct {
	x509.Certificate
	key   crypto.Signer
	after []func(*signedPart) // edits that crypto/x509 does not make
}

type edit func(*recipe)

// root makes a self-signed CA of ten years.
func (m maker) root(name string, edits ...edit) issued { return m.sign(m.authority(name), nil, edits) }

// under makes a CA below another one.
func (m maker) under(parent issued, name string, edits ...edit) issued {
	return m.sign(m.authority(name), &parent, edits)
}

// leaf makes a good certificate of the role under an authority.
func (m maker) leaf(parent issued, edits ...edit) issued {
	r := recipe{Certificate: x509.Certificate{
		Subject:   pkix.Name{CommonName: m.common},
		NotBefore: m.now.Add(-day), NotAfter: m.now.Add(90 * day), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}}
	if m.role != custom.Replication {
		r.Subject.CommonName, r.DNSNames = m.hosts[0], slices.Clone(m.hosts)
		r.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	return m.sign(r, &parent, edits)
}

func (m maker) authority(name string) recipe {
	return recipe{Certificate: x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, NotBefore: m.now.Add(-30 * day), NotAfter: m.now.Add(3650 * day),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}}
}

// sign signs a recipe; without parent with its own key.
func (m maker) sign(r recipe, parent *issued, edits []edit) issued {
	for _, e := range edits {
		e(&r)
	}
	if r.key == nil {
		r.key = pkitest.ECKey()
	}
	if r.SubjectKeyId == nil {
		r.SubjectKeyId = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 160))).Bytes()
	}
	signer, signerKey := (*pkitest.Certificate)(nil), r.key
	if parent != nil {
		signer, signerKey = &pkitest.Certificate{Certificate: parent.Certificate, Key: parent.key}, parent.key
	}
	made := pkitest.Sign(&r.Certificate, r.key, signer)
	if len(r.after) == 0 {
		return issued{made.Certificate, r.key}
	}
	return issued{must(x509.ParseCertificate(resigned(made.Raw, signerKey, r.after))), r.key}
}

// must is for what can only fail when a case is written wrongly.
func must[T any](v T, err error) T {
	if err != nil {
		panic("corpus: " + err.Error())
	}
	return v
}

// Edits.

func withKey(key crypto.Signer) edit  { return func(r *recipe) { r.key = key } }
func named(hosts ...string) edit      { return func(r *recipe) { r.DNSNames = hosts } }
func called(common string) edit       { return func(r *recipe) { r.Subject.CommonName = common } }
func ending(at time.Time) edit        { return func(r *recipe) { r.NotAfter = at } }
func starting(at time.Time) edit      { return func(r *recipe) { r.NotBefore = at } }
func usable(usage x509.KeyUsage) edit { return func(r *recipe) { r.KeyUsage = usage } }
func after(f func(*signedPart)) edit  { return func(r *recipe) { r.after = append(r.after, f) } }
func sha1WithRSA(r *recipe)           { r.SignatureAlgorithm = x509.SHA1WithRSA }
func purposes(p ...x509.ExtKeyUsage) edit {
	return func(r *recipe) { r.ExtKeyUsage = p }
}

// Encodings.

func pemOf(certificates ...issued) []byte {
	var text []byte
	for _, c := range certificates {
		text = append(text, block("CERTIFICATE", c.Raw)...)
	}
	return text
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(key crypto.Signer) []byte {
	return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

// traditional is PKCS#1 or SEC 1.
func traditional(key crypto.Signer) []byte {
	if k, ok := key.(*rsa.PrivateKey); ok {
		return block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
	}
	return block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))))
}

// secret has the three keys; the first of the chain is the leaf.
func secret(chain []issued, anchors ...issued) custom.Input {
	return files(pemOf(chain...), pkcs8(chain[0].key), pemOf(anchors...))
}

func files(crt, key, ca []byte) custom.Input {
	return custom.Input{Data: map[string][]byte{custom.CertificateFile: crt, custom.KeyFile: key, custom.AuthorityFile: ca}}
}

func chain(certificates ...issued) []issued { return certificates }

// good is a Secret without a fault, for a case to spoil.
func (m maker) good() custom.Input {
	root := m.root("root")
	return secret(chain(m.leaf(root)), root)
}

// spoilt applies f to one file of a good Secret.
func spoilt(name string, f func([]byte) []byte) func(maker) custom.Input {
	return func(m maker) custom.Input {
		in := m.good()
		in.Data[name] = f(in.Data[name])
		return in
	}
}

func without(name string) func(maker) custom.Input {
	return func(m maker) custom.Input {
		in := m.good()
		delete(in.Data, name)
		return in
	}
}

func crlf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

func certificates(list ...issued) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range list {
		out = append(out, c.Certificate)
	}
	return out
}
