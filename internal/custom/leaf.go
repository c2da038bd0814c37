package custom

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"pgtls.dev/pgtls/internal/pki"
)

// checkLeaf checks what does not depend on the chain.
func (r *report) checkLeaf(leaf *x509.Certificate, f file, in Input) {
	if leaf.NotAfter.Before(leaf.NotBefore) {
		r.refuse(ValidityMalformed, f.key, "issue it anew", "it ends at %s, before it begins", stamp(leaf.NotAfter))
	}
	if in.Role == Replication {
		r.checkIdentity(leaf, f, in.Identities)
		return
	}
	r.checkNames(leaf, f, in)
}

func (r *report) checkNames(leaf *x509.Certificate, f file, in Input) {
	has := listed(namesOf(leaf))
	if missing := notCovered(leaf, in.Names); len(missing) > 0 && !r.onlyCommonName(leaf, f, missing) {
		r.refuse(NameMissing, f.key, "issue it with these as subjectAltName", "it does not name %s, which clients use; it names %s", listed(missing), has)
	}
	missing := slices.DeleteFunc(notCovered(leaf, in.OtherNames), func(host string) bool { return pki.CommonNameCovers(leaf, host) })
	if len(missing) > 0 {
		r.warn(NameMissing, f.key, "add them when it is issued next, if clients use them", "it does not name %s; it names %s", listed(missing), has)
	}
	for _, name := range leaf.DNSNames {
		if err := pki.CheckDNSName(name); err != nil {
			r.addError(Warn, f.key, err)
		}
	}
}

// onlyCommonName: libpq and JDBC look at the common name of a certificate without alternative names, and Go and Rust do not.
// Inside the cluster names do not count.
func (r *report) onlyCommonName(leaf *x509.Certificate, f file, missing []string) bool {
	const remedy = "issue it with subjectAltName"
	covered := 0
	for _, host := range missing {
		if pki.CommonNameCovers(leaf, host) {
			covered++
		}
	}
	switch covered {
	case 0:
		return false
	case len(missing):
		r.warn(NameMissing, f.key, remedy, "it has host name %s in its common name alone: libpq and JDBC look there, and clients in Go (pgx) and Rust (rustls) refuse it", commonName(leaf))
	default:
		r.refuse(NameMissing, f.key, remedy, "it has host name %s in its common name alone, and clients use %s", commonName(leaf), listed(missing))
	}
	return true
}

func notCovered(leaf *x509.Certificate, hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return pki.CoversName(leaf, host) })
}

func namesOf(leaf *x509.Certificate) []string {
	facts := pki.Facts(leaf)
	return append(facts.DNSNames, facts.IPs...)
}

func (r *report) checkIdentity(leaf *x509.Certificate, f file, accepted []string) {
	if name := commonName(leaf); !slices.Contains(accepted, name) {
		r.refuse(IdentityMismatch, f.key, "issue it with one of these common names: "+listed(accepted), "its common name is %q", name)
	}
}

var idCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName returns the first one, as PostgreSQL does; crypto/x509 returns the last.
func commonName(leaf *x509.Certificate) string {
	for _, part := range leaf.Subject.Names {
		if name, ok := part.Value.(string); ok && part.Type.Equal(idCommonName) {
			return name
		}
	}
	return ""
}

// checkLives looks ahead, along the path.
func (r *report) checkLives(p path, f file, in Input) {
	leaf := p.presented[0]
	first := leaf
	for _, issuer := range p.issuers {
		if issuer.NotAfter.Before(first.NotAfter) {
			first = issuer
		}
		if issuer.NotAfter.Before(leaf.NotAfter) {
			r.warn(LeafOutlivesAuthority, f.key, "renew the authority and then the certificate before that",
				"it ends at %s, and its authority %s at %s already", stamp(leaf.NotAfter), issuer.Subject, stamp(issuer.NotAfter))
		}
		if equalLives(leaf, issuer) {
			r.warn(EqualLives, f.key, "give the authority at least three times the life of what it issues",
				"authority %s lives no longer than what it issues, so both are renewed together and clients that hold the old one are cut off", issuer.Subject)
		}
	}
	// A short life is meant to be short: its issuer renews it in the last third.
	if window := min(in.RenewBefore, first.NotAfter.Sub(first.NotBefore)/3); first.NotAfter.Sub(in.Now) < window {
		r.warn(ExpiresSoon, f.key, "put a new one into the Secret", "%s ends at %s, which is soon", first.Subject, stamp(first.NotAfter))
	}
}

// equalLives takes one hundredth for nothing: people issue the one a minute after the other.
func equalLives(leaf, issuer *x509.Certificate) bool {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return issuer.NotAfter.Sub(issuer.NotBefore) <= life+life/100
}

// checkPeer warns where the anchors of the other Secret do not accept what this one presents. Crunchy PGO has standbys and
// servers verify each other by the other's ca.crt; pgtls gives verifiers the anchors of both.
func (r *report) checkPeer(p path, given authorities, in Input) {
	peers := usable(in.PeerTrust, in.Now)
	if len(in.PeerTrust) == 0 || in.Role == Pooler {
		return
	}
	err := pki.Verify(pki.VerifyRequest{Chain: p.presented, Anchors: peers, At: in.Now, Usage: in.Role.usage(), Lenient: true})
	if err != nil {
		r.warn(PeerUntrusted, given.key, "put the authorities of both into both, if the Secrets are used elsewhere too",
			"the ca.crt of the other Secret does not accept this certificate; pgtls gives verifiers both")
	}
}
