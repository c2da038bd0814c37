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

// findPath looks for a chain to the user's anchors, then to those of the other Secret, then to public ones. It reports whether there
// is one.
func (s *subject) findPath() bool {
	in, given := s.in, s.given
	search := newSearch(s.chain, given, in)
	for _, more := range [][]*x509.Certificate{nil, usable(in.PeerTrust, in.Now), search.publicRoots(given, in)} {
		search.anchors = unique(slices.Concat(given.anchors, more))
		if presented := search.find(); presented != nil {
			s.take(presented, search)
			return true
		}
	}
	s.refusePath(search)
	return false
}

// take makes a chain that was found the subject's path, and warns about what was done for it and what some verifiers refuse.
func (s *subject) take(presented []*x509.Certificate, found search) {
	s.given.reportDropped(nil)
	if !slices.EqualFunc(presented, withoutAnchors(s.chain), (*x509.Certificate).Equal) {
		s.file.warn(ChainRearranged, "put the leaf first and each issuer right after what it issued",
			"its issuers are not in order, or stand in %s: they are put in order", s.given.key)
	}
	issuers := found.issuersOf(presented)
	used := issuers[len(issuers)-1]
	s.reportTolerated(pki.Tolerated(found.request(presented)), used)
	s.path = path{presented, s.keepNeeded(used, found, presented), issuers}
}

// refusePath says why as precisely as it can: a CA in ca.crt that cannot be an anchor is more to the point than that
// there is no anchor.
func (s *subject) refusePath(tried search) {
	tried.anchors = s.given.anchors
	err := tried.verify(withoutAnchors(s.chain))
	unknown := pki.ReasonOf(err) == pki.UnknownAuthority
	if unknown && s.given.reportDropped(s.chain) {
		return
	}
	if !unknown {
		s.given.reportDropped(nil)
	}
	if unknown && len(s.given.anchors) == 0 && !s.given.given {
		remedy := "add ca.crt with the certificate of its authority"
		if s.in.SystemRoots != nil {
			remedy += ", since no public authority has issued it"
		}
		s.file.refuse(UnknownAuthority, remedy, "no certificate of its issuer is at hand (%s)", s.chain[len(s.chain)-1].Issuer)
		return
	}
	s.file.addError(Refuse, err)
}

// keepNeeded returns the anchors for verifiers: all, and where there are too many of them, those that the chain needs.
func (s *subject) keepNeeded(used *x509.Certificate, found search, presented []*x509.Certificate) []*x509.Certificate {
	anchors := unique(append(slices.Clone(s.given.anchors), used))
	if len(anchors) <= maxKept {
		return anchors
	}
	needed := slices.DeleteFunc(slices.Clone(anchors), func(a *x509.Certificate) bool {
		found.anchors = []*x509.Certificate{a}
		return found.verify(presented) != nil
	})
	s.given.warn(TooLarge, "keep what is needed", "it holds %d authorities, and only that which issued the certificate is trusted", len(anchors))
	return unique(append(needed, used))
}

// reportTolerated warns about what OpenSSL takes by default and some verifier does not.
func (s *subject) reportTolerated(faults []error, used *x509.Certificate) {
	for _, err := range faults {
		at := s.file.place
		if e, ok := errors.AsType[*pki.Error](err); ok && s.given.given && strings.Contains(e.Fact, used.Subject.String()) {
			at = s.given.place
		}
		at.warnStrict(err)
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
