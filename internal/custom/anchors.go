package custom

import (
	"bytes"
	"crypto/x509"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// authorities is what a user gave to verify with.
type authorities struct {
	place
	given   bool                // there is a ca.crt with something in it
	anchors []*x509.Certificate // usable now, each once
	issuers []*x509.Certificate // CAs of another issuer: no anchors, but they may complete a chain
	dropped []dropped
}

// dropped is a certificate that is no anchor, and why.
type dropped struct {
	certificate *x509.Certificate
	err         error
}

// readAuthorities reads ca.crt and adds the further anchors. An empty ca.crt is none: cert-manager writes it for
// authorities that do not tell their root.
func readAuthorities(f file, in Input) authorities {
	given := authorities{place: f.place}
	if f.present && len(bytes.TrimSpace(f.text)) > 0 {
		given = readBundle(f, in.Now, maxGiven)
		given.given = true
	}
	given.anchors = unique(append(given.anchors, usable(in.Trust, in.Now)...))
	return given
}

// A machine's own bundle of public authorities holds well over a hundred. Agents read a hundred in all, the cluster's own included,
// so of more than maxKept only those are kept to which the chain leads.
const (
	maxGiven = 400
	maxKept  = 90
)

func readBundle(f file, now time.Time, most int) authorities {
	given := authorities{place: f.place}
	before := len(f.report.findings)
	certificates := f.certificates(most)
	if len(certificates) == 0 && !f.report.refusedSince(before) {
		f.refuse(NoCertificate, "put the certificate of the authority there", "it holds no certificate")
	}
	once := unique(certificates)
	if n := len(certificates) - len(once); n > 0 {
		f.warn(Duplicate, "keep each certificate once", "%d of its %d certificates are there more than once", n, len(certificates))
	}
	for _, c := range once {
		given.sort(c, now)
	}
	return given
}

// sort puts a certificate where it belongs.
func (a *authorities) sort(c *x509.Certificate, now time.Time) {
	err := anchorError(c, now)
	if err == nil {
		a.anchors = append(a.anchors, c)
		return
	}
	if pki.ReasonOf(err) == pki.NotSelfSigned && c.IsCA {
		a.issuers = append(a.issuers, c)
	}
	a.dropped = append(a.dropped, dropped{c, err})
}

// anchorError says why a certificate is no anchor now.
func anchorError(c *x509.Certificate, now time.Time) error {
	if err := pki.CheckAnchor(c); err != nil {
		return err
	}
	what := "trust anchor " + c.Subject.String()
	if now.Before(c.NotBefore) {
		return &pki.Error{Reason: pki.NotYetValid, Fact: what + " is valid from " + stamp(c.NotBefore) + " only", Remedy: "check the clock, or wait"}
	}
	if !now.Before(c.NotAfter) {
		return &pki.Error{Reason: pki.Expired, Fact: what + " has expired at " + stamp(c.NotAfter), Remedy: "remove it, or replace it by its successor"}
	}
	return nil
}

// usable returns those that are anchors now.
func usable(certificates []*x509.Certificate, now time.Time) []*x509.Certificate {
	var anchors []*x509.Certificate
	for _, c := range certificates {
		if anchorError(c, now) == nil {
			anchors = append(anchors, c)
		}
	}
	return anchors
}

// reportDropped warns about what is left out. What one of the children names as its issuer is the cause of a chain that leads
// nowhere, and so a refusal; it says whether there was such a one.
func (a *authorities) reportDropped(children []*x509.Certificate) bool {
	cause := false
	for _, d := range a.dropped {
		severity := Warn
		for _, child := range children {
			if bytes.Equal(child.RawIssuer, d.certificate.RawSubject) {
				severity, cause = Refuse, true
			}
		}
		a.addError(severity, d.err)
	}
	return cause
}

// refuseUnusable is for a bundle in which nothing is an anchor.
func (a *authorities) refuseUnusable() {
	for _, d := range a.dropped {
		a.addError(Refuse, d.err)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
