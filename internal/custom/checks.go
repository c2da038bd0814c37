package custom

import (
	"crypto/x509"
	"slices"

	"pgtls.dev/pgtls/internal/pki"
)

// subject is a certificate that is checked, and what is known of it.
type subject struct {
	in    Input
	file  file // that the certificate comes from
	given authorities
	chain []*x509.Certificate // as the user has it, leaf first
	path  path                // that was found; see findPath
}

func (s *subject) leaf() *x509.Certificate { return s.chain[0] }

// run does checks in their order, which is that of the findings.
func (s *subject) run(checks []check) {
	for _, check := range checks {
		check(s)
	}
}

// check looks at one property of a subject and reports what it finds at the place that it is about.
type check func(*subject)

var (
	// The checks that need no chain, of what is presented to clients and of what is presented to PostgreSQL.
	serverChecks      = []check{checkValidity, checkNames, checkOtherNames, checkNameSyntax}
	replicationChecks = []check{checkValidity, checkIdentity}
	// The checks of a certificate with a path.
	pathChecks = []check{checkIssuers, checkEnd, checkPeer}
)

func (r Role) checks() []check {
	if r == Replication {
		return replicationChecks
	}
	return serverChecks
}

func checkValidity(s *subject) {
	if leaf := s.leaf(); leaf.NotAfter.Before(leaf.NotBefore) {
		s.file.refuse(ValidityMalformed, "issue it anew", "it ends at %s, before it begins", stamp(leaf.NotAfter))
	}
}

func checkIdentity(s *subject) {
	if name := commonName(s.leaf()); !slices.Contains(s.in.Identities, name) {
		s.file.refuse(IdentityMismatch, "issue it with one of these common names: "+listed(s.in.Identities), "its common name is %q", name)
	}
}

func checkNames(s *subject) {
	missing := notCovered(s.leaf(), s.in.Names)
	if len(missing) == 0 || onlyCommonName(s, missing) {
		return
	}
	s.file.refuse(NameMissing, "issue it with these as subjectAltName", "it does not name %s, which clients use; it names %s",
		listed(missing), listed(namesOf(s.leaf())))
}

// onlyCommonName: libpq and JDBC look at the common name of a certificate without alternative names, and Go and Rust do not.
// Inside the cluster names do not count.
func onlyCommonName(s *subject, missing []string) bool {
	const remedy = "issue it with subjectAltName"
	leaf, covered := s.leaf(), 0
	for _, host := range missing {
		if pki.CommonNameCovers(leaf, host) {
			covered++
		}
	}
	switch covered {
	case 0:
		return false
	case len(missing):
		s.file.warn(NameMissing, remedy, "it has host name %s in its common name alone: libpq and JDBC look there, and clients in Go (pgx) and Rust (rustls) refuse it", commonName(leaf))
	default:
		s.file.refuse(NameMissing, remedy, "it has host name %s in its common name alone, and clients use %s", commonName(leaf), listed(missing))
	}
	return true
}

func checkOtherNames(s *subject) {
	leaf := s.leaf()
	missing := slices.DeleteFunc(notCovered(leaf, s.in.OtherNames), func(host string) bool { return pki.CommonNameCovers(leaf, host) })
	if len(missing) > 0 {
		s.file.warn(NameMissing, "add them when it is issued next, if clients use them", "it does not name %s; it names %s", listed(missing), listed(namesOf(leaf)))
	}
}

func checkNameSyntax(s *subject) {
	for _, name := range s.leaf().DNSNames {
		if err := pki.CheckDNSName(name); err != nil {
			s.file.addError(Warn, err)
		}
	}
}

// checkIssuers compares the lives of the issuers on the path with that of the leaf.
func checkIssuers(s *subject) {
	leaf := s.leaf()
	for _, issuer := range s.path.issuers {
		if issuer.NotAfter.Before(leaf.NotAfter) {
			s.file.warn(LeafOutlivesAuthority, "renew the authority and then the certificate before that",
				"it ends at %s, and its authority %s at %s already", stamp(leaf.NotAfter), issuer.Subject, stamp(issuer.NotAfter))
		}
		if equalLives(leaf, issuer) {
			s.file.warn(EqualLives, "give the authority at least three times the life of what it issues",
				"authority %s lives no longer than what it issues, so both are renewed together and clients that hold the old one are cut off", issuer.Subject)
		}
	}
}

// checkEnd warns where the first certificate of the path to end does so soon. A short life is meant to be short: its issuer renews it
// in the last third.
func checkEnd(s *subject) {
	first := s.leaf()
	for _, issuer := range s.path.issuers {
		if issuer.NotAfter.Before(first.NotAfter) {
			first = issuer
		}
	}
	if window := min(s.in.RenewBefore, first.NotAfter.Sub(first.NotBefore)/3); first.NotAfter.Sub(s.in.Now) < window {
		s.file.warn(ExpiresSoon, "put a new one into the Secret", "%s ends at %s, which is soon", first.Subject, stamp(first.NotAfter))
	}
}

// checkPeer warns where the anchors of the other Secret do not accept what this one presents. Crunchy PGO has standbys and
// servers verify each other by the other's ca.crt; pgtls gives verifiers the anchors of both.
func checkPeer(s *subject) {
	in := s.in
	peers := usable(in.PeerTrust, in.Now)
	if len(in.PeerTrust) == 0 || in.Role == Pooler {
		return
	}
	err := pki.Verify(pki.VerifyRequest{Chain: s.path.presented, Anchors: peers, At: in.Now, Usage: in.Role.usage(), Lenient: true})
	if err != nil {
		s.given.warn(PeerUntrusted, "put the authorities of both into both, if the Secrets are used elsewhere too",
			"the ca.crt of the other Secret does not accept this certificate; pgtls gives verifiers both")
	}
}
