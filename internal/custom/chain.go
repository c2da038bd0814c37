package custom

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/pki"
)

// path is a chain that verifies.
type path struct {
	presented []*x509.Certificate // leaf first, without anchors
	anchors   []*x509.Certificate // for verifiers
	issuers   []*x509.Certificate // from the leaf's issuer up to the anchor that the path ends at
}

// findPath looks for a chain to the user's anchors, then to those of the other Secret, then to public ones.
func (r *report) findPath(chain []*x509.Certificate, given authorities, f file, in Input) (path, bool) {
	s := newSearch(chain, given, in)
	for _, more := range [][]*x509.Certificate{nil, usable(in.PeerTrust, in.Now), s.publicRoots(given, in)} {
		s.anchors = unique(slices.Concat(given.anchors, more))
		presented := s.find()
		if presented == nil {
			continue
		}
		r.reportDropped(given, nil)
		if !slices.EqualFunc(presented, withoutAnchors(chain), (*x509.Certificate).Equal) {
			r.warn(ChainRearranged, f.key, "put the leaf first and each issuer right after what it issued",
				"its issuers are not in order, or stand in %s: they are put in order", given.key)
		}
		issuers := s.issuersOf(presented)
		used := issuers[len(issuers)-1]
		r.reportTolerated(pki.Tolerated(s.request(presented)), used, given, f)
		return path{presented, r.keepNeeded(unique(append(slices.Clone(given.anchors), used)), used, s, presented, given), issuers}, true
	}
	r.refusePath(chain, given, f, s, in)
	return path{}, false
}

// refusePath says why as precisely as it can: a CA in ca.crt that cannot be an anchor is more to the point than that
// there is no anchor.
func (r *report) refusePath(chain []*x509.Certificate, given authorities, f file, s search, in Input) {
	s.anchors = given.anchors
	err := s.verify(withoutAnchors(chain))
	unknown := pki.ReasonOf(err) == pki.UnknownAuthority
	if unknown && r.reportDropped(given, chain) {
		return
	}
	if !unknown {
		r.reportDropped(given, nil)
	}
	if unknown && len(given.anchors) == 0 && !given.given {
		remedy := "add ca.crt with the certificate of its authority"
		if in.SystemRoots != nil {
			remedy += ", since no public authority has issued it"
		}
		r.refuse(UnknownAuthority, f.key, remedy, "no certificate of its issuer is at hand (%s)", chain[len(chain)-1].Issuer)
		return
	}
	r.addError(Refuse, f.key, err)
}

// keepNeeded leaves out anchors that nothing needs where there are too many of them.
func (r *report) keepNeeded(anchors []*x509.Certificate, used *x509.Certificate, s search, presented []*x509.Certificate, given authorities) []*x509.Certificate {
	if len(anchors) <= maxKept {
		return anchors
	}
	needed := slices.DeleteFunc(slices.Clone(anchors), func(a *x509.Certificate) bool {
		s.anchors = []*x509.Certificate{a}
		return s.verify(presented) != nil
	})
	r.warn(TooLarge, given.key, "keep what is needed", "it holds %d authorities, and only that which issued the certificate is trusted", len(anchors))
	return unique(append(needed, used))
}

// reportTolerated warns about what OpenSSL takes by default and some verifier does not.
func (r *report) reportTolerated(faults []error, used *x509.Certificate, given authorities, f file) {
	for _, err := range faults {
		key := f.key
		if e, ok := errors.AsType[*pki.Error](err); ok && given.given && strings.Contains(e.Fact, used.Subject.String()) {
			key = given.key
		}
		r.warnStrict(key, err)
	}
}

// warnStrict says who refuses what OpenSSL takes by default.
func (r *report) warnStrict(key string, err error) {
	who := "clients that verify strictly, such as Python's ssl.create_default_context since 3.13, refuse it"
	if pki.ReasonOf(err) == pki.UsageMissing {
		who = "clients that look at key usage, such as JDBC, refuse it with TLS 1.3"
	}
	if e, ok := errors.AsType[*pki.Error](err); ok {
		r.warn(StrictVerifiersRefuse, key, e.Remedy, "%s; it works with OpenSSL's defaults, and %s", e.Fact, who)
	}
}

// search looks for a chain that pki.Verify accepts.
type search struct {
	chain   []*x509.Certificate // as the user has it
	pool    []*x509.Certificate // issuers, wherever they stand
	anchors []*x509.Certificate
	in      Input
	budget  *int
}

// How much is tried: a Secret with a hundred authorities that signed each other must not stop the operator.
const (
	maxDepth  = 8
	maxProbes = 300
)

func newSearch(chain []*x509.Certificate, given authorities, in Input) search {
	budget := maxProbes
	pool := unique(slices.Concat(withoutAnchors(chain)[1:], given.issuers))
	return search{chain: chain, pool: pool, in: in, budget: &budget}
}

// find prefers the chain as it is: bridges behind the first anchor serve verifiers that hold others.
func (s search) find() []*x509.Certificate {
	if len(s.anchors) == 0 {
		return nil
	}
	if asIs := withoutAnchors(s.chain); s.verify(asIs) == nil {
		return asIs
	}
	return s.extend(s.chain[:1:1])
}

func (s search) extend(chain []*x509.Certificate) []*x509.Certificate {
	if s.verify(chain) == nil {
		return chain
	}
	last := chain[len(chain)-1]
	for _, issuer := range s.pool {
		if len(chain) == maxDepth || *s.budget <= 0 {
			return nil
		}
		if slices.ContainsFunc(chain, issuer.Equal) || !bytes.Equal(last.RawIssuer, issuer.RawSubject) {
			continue
		}
		*s.budget--
		if last.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if found := s.extend(append(slices.Clone(chain), issuer)); found != nil {
			return found
		}
	}
	return nil
}

func (s search) verify(chain []*x509.Certificate) error { return pki.Verify(s.request(chain)) }

func (s search) request(chain []*x509.Certificate) pki.VerifyRequest {
	return pki.VerifyRequest{Chain: chain, Anchors: s.anchors, At: s.in.Now, Usage: s.in.Role.usage(), Lenient: true}
}

// publicRoots are those that may have issued something here: a machine trusts well over a hundred.
func (s search) publicRoots(given authorities, in Input) []*x509.Certificate {
	if given.given {
		return nil
	}
	var roots []*x509.Certificate
	for _, root := range in.SystemRoots {
		named := func(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, root.RawSubject) }
		if slices.ContainsFunc(s.chain, named) {
			roots = append(roots, root)
		}
	}
	return usable(roots, in.Now)
}

// issuersOf returns the issuers of a chain that verifies, up to the first anchor, as verifiers walk it. Of anchors that are one
// authority, renewed with its key, it takes the one that lasts longest.
func (s search) issuersOf(chain []*x509.Certificate) []*x509.Certificate {
	for i, child := range chain {
		var found *x509.Certificate
		for _, anchor := range s.anchors {
			issued := bytes.Equal(child.RawIssuer, anchor.RawSubject) && child.CheckSignatureFrom(anchor) == nil
			if issued && (found == nil || anchor.NotAfter.After(found.NotAfter)) {
				found = anchor
			}
		}
		if found != nil {
			return append(slices.Clone(chain[1:i+1]), found)
		}
	}
	return chain[:1] // cannot be: it has verified
}

// withoutAnchors leaves out self-signed certificates behind the leaf: a verifier has them or does not believe them.
func withoutAnchors(chain []*x509.Certificate) []*x509.Certificate {
	kept := chain[:1:1]
	for _, c := range chain[1:] {
		if !bytes.Equal(c.RawSubject, c.RawIssuer) {
			kept = append(kept, c)
		}
	}
	return kept
}
