package custom

import (
	"crypto/x509"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// Role is what a certificate is presented as.
type Role string

// The roles. The first two present it to clients, the third to PostgreSQL.
const (
	Instance    Role = "instance"    // PostgreSQL's server certificate
	Pooler      Role = "pooler"      // PgBouncer's server certificate
	Replication Role = "replication" // the client certificate of standbys
)

// The files that a projection of a Secret gives, and the keys that are used without one.
const (
	CertificateFile = "tls.crt"
	KeyFile         = "tls.key"
	AuthorityFile   = "ca.crt"
)

// Item is an entry of a SecretProjection: the Secret's key, and the file that it becomes.
type Item struct{ Key, Path string }

// Input is a Secret and what it is measured against.
type Input struct {
	Role   Role
	Source string // how messages call it: "Secret postgres/hippo-tls"
	Data   map[string][]byte
	Items  []Item // none: the keys are called as the files

	// Trust holds further anchors that the chain may lead to.
	Trust []*x509.Certificate
	// PeerTrust holds the anchors in the other Secret: the server's for Replication, the replication's for Instance. Users of
	// Crunchy PGO give one CA in both, or in each the CA of the other. A chain may lead there too.
	PeerTrust []*x509.Certificate
	// SystemRoots are tried last, and only without ca.crt: a public authority's Secret has none. Nil: not allowed.
	SystemRoots []*x509.Certificate

	Names      []string // hosts that clients are given: a server's certificate must be for all of them
	OtherNames []string // hosts by which clients may know it besides: a warning when missing
	Identities []string // common names that may replicate

	RenewBefore time.Duration // what ends sooner is warned about
	Now         time.Time     // must not be zero
}

// Certificate is what pgtls may use.
type Certificate struct {
	Pair    *pki.KeyPair        // leaf and the issuers to present with it, in order and without anchors
	Anchors []*x509.Certificate // what verifiers need: usable, valid now, each once
}

// Severity says what a finding does.
type Severity string

// The severities.
const (
	Refuse Severity = "Refuse" // it does not work, or must not be used
	Warn   Severity = "Warn"   // it works, and the user should check it
)

// Finding is one thing that was found. Its message is one line that names the Secret and the key, the fact and the remedy.
type Finding struct {
	Reason   Reason
	Severity Severity
	Message  string
}

// Check judges a Secret. The certificate is nil exactly when a finding has the severity Refuse. Findings come in the order
// of reading, so that the first refusal is the cause of later ones.
func Check(in Input) (*Certificate, []Finding) {
	r := &report{source: in.Source}
	files := project(in, r)
	s := subject{in: in, file: files[CertificateFile], given: readAuthorities(files[AuthorityFile], in)}
	presented := s.file.chain()
	pair := readPair(in.Role, presented, files[KeyFile], s.file)
	if pair == nil {
		s.given.reportDropped(nil)
		return nil, r.findings
	}
	s.chain = pair.Chain
	s.run(in.Role.checks())
	if s.findPath() {
		s.run(pathChecks)
	}
	if r.refused() {
		return nil, r.findings
	}
	return &Certificate{
		Pair:    &pki.KeyPair{Chain: s.path.presented, Key: pair.Key},
		Anchors: s.path.anchors,
	}, r.findings
}

// CheckBundle judges a text of trust anchors, such as a key of a ConfigMap. It returns those that can be used, each once;
// none exactly when a finding has the severity Refuse.
func CheckBundle(source, key string, text []byte, now time.Time) ([]*x509.Certificate, []Finding) {
	r := &report{source: source}
	given := readBundle(file{r.at(key), text, true}, now, pki.MaxCertificates)
	if len(given.anchors) == 0 && !r.refused() {
		given.refuseUnusable()
	} else {
		given.reportDropped(nil)
	}
	if r.refused() {
		return nil, r.findings
	}
	for _, a := range given.anchors {
		for _, err := range pki.StrictFaults(a) {
			given.warnStrict(err)
		}
	}
	return given.anchors, r.findings
}

func (r Role) usage() pki.Usage {
	if r == Replication {
		return pki.ClientAuth
	}
	return pki.ServerAuth
}
