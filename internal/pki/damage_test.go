package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// damage is one thing that may be wrong (or only unusual) with a certificate.
type damage struct {
	name string
	edit func(*x509.Certificate)
}

var none = damage{"none", func(*x509.Certificate) {}}

// Most draws are undamaged, so that most chains have one fault or two and some have none.
var caDamages = append(slices.Repeat([]damage{none}, 8),
	damage{"expired", ended},
	damage{"not yet valid", func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Second) }},
	damage{"no CA", func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.KeyUsage = false, 0, x509.KeyUsageDigitalSignature }},
	damage{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }},
	damage{"may not sign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }},
	damage{"for clients only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }},
	damage{"for anything", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }},
	damage{"for servers", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
	damage{"path length 0", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }},
	damage{"path length 1", func(c *x509.Certificate) { c.MaxPathLen = 1 }},
	damage{"other names only", permits("example.com")},
	damage{"our names only", permits("postgres.svc")},
	damage{"another identifier", func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3} }},
	damage{"unknown critical extension", strangeExtension(true)},
	damage{"unknown extension", strangeExtension(false)},
)

var leafDamages = append(slices.Repeat([]damage{none}, 8),
	damage{"expired", ended},
	damage{"not yet valid", func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Second) }},
	damage{"ends now", func(c *x509.Certificate) { c.NotAfter = epoch }},
	damage{"starts now", func(c *x509.Certificate) { c.NotBefore = epoch }},
	damage{"a CA", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }},
	damage{"no basic constraints", func(c *x509.Certificate) { c.BasicConstraintsValid = false }},
	damage{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }},
	damage{"enciphers only", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }},
	damage{"commits only", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }},
	damage{"no extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }},
	damage{"for anything", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }},
	damage{"for clients", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }},
	damage{"no names", func(c *x509.Certificate) { c.DNSNames = nil }},
	damage{"wildcard", func(c *x509.Certificate) { c.DNSNames = []string{"*.postgres.svc"} }},
	damage{"wildcard too high", func(c *x509.Certificate) { c.DNSNames = []string{"*.svc"} }},
	damage{"no subject", func(c *x509.Certificate) { c.Subject = pkix.Name{} }},
	damage{"unknown critical extension", strangeExtension(true)},
)

func strangeExtension(critical bool) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: critical, Value: []byte{5, 0}}}
	}
}

// hierarchy is a root, up to two CAs below it and a leaf, each damaged at random.
type hierarchy struct {
	request VerifyRequest
	sound   bool // nothing is damaged and all is presented in order
}

func drawHierarchy(t *rapid.T, keys []crypto.Signer) hierarchy {
	sound, whole := true, rapid.IntRange(0, 3).Draw(t, "whole") == 0 // a quarter has no fault at all
	rarely := func(label string) bool { return !whole && rapid.IntRange(0, 7).Draw(t, label) == 0 }
	pick := func(damages []damage, label string) damage {
		if whole {
			return none
		}
		d := rapid.SampledFrom(damages).Draw(t, label)
		sound = sound && d.name == none.name
		return d
	}
	issuer := &Authority{Key: keys[0]}
	issuer.Certificate = forge(t, caTemplate("root", pick(caDamages, "root").edit), issuer.Key, nil)
	anchors := []*x509.Certificate{issuer.Certificate}
	var presented []*x509.Certificate
	for i := range rapid.IntRange(0, 2).Draw(t, "intermediates") {
		below := &Authority{Key: keys[i+1]}
		below.Certificate = forge(t, caTemplate(string(rune('a'+i)), pick(caDamages, "intermediate").edit), below.Key, issuer)
		issuer, presented = below, append([]*x509.Certificate{below.Certificate}, presented...)
	}
	leaf := forge(t, leafTemplate(pick(leafDamages, "leaf").edit), keys[3], issuer)

	if len(presented) > 0 && rarely("drop") {
		presented, sound = presented[1:], false
	}
	if rarely("reverse") {
		slices.Reverse(presented)
		sound = sound && len(presented) < 2
	}
	if rarely("stranger") {
		anchors = append([]*x509.Certificate{sharedAuthority().Certificate}, anchors...)
	}
	if rarely("break") {
		leaf, sound = withBrokenSignature(t, leaf), false
	}
	return hierarchy{serverCheck(append([]*x509.Certificate{leaf}, presented...), anchors...), sound}
}

// TestDamagedHierarchies compares Verify with both programs that it must not be laxer than, on chains that
// no case foresees, and makes sure that it does not simply refuse.
func TestDamagedHierarchies(t *testing.T) {
	needOpenSSL(t)
	keys := []crypto.Signer{pkitest.ECKey(), pkitest.ECKey(), pkitest.ECKey(), pkitest.ECKey()}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		h := drawHierarchy(t, keys)
		err := Verify(h.request)
		if h.sound && err != nil {
			t.Fatalf("a sound chain is refused: %v", err)
		}
		if err != nil {
			if ReasonOf(err) == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if err := goVerify(h.request); err != nil {
			t.Fatalf("we accept what Go refuses: %v", err)
		}
		if err := opensslVerify(t, dir, h.request); err != nil {
			t.Fatalf("we accept what openssl refuses: %v", err)
		}
	})
}

// goVerify is what Go's TLS would say.
func goVerify(r VerifyRequest) error {
	_, err := r.Chain[0].Verify(x509.VerifyOptions{
		Roots: pool(r.Anchors...), Intermediates: pool(r.Chain[1:]...), CurrentTime: r.At, DNSName: r.DNSName,
		KeyUsages: []x509.ExtKeyUsage{r.Usage.extended()},
	})
	return err
}

// TestEveryRefusalReadsWell looks at the messages of all cases: one line, lower case, fact and remedy.
func TestEveryRefusalReadsWell(t *testing.T) {
	seen := map[Reason]bool{}
	for _, v := range verdicts {
		err := Verify(v.request(t))
		if err == nil {
			continue
		}
		seen[ReasonOf(err)] = true
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: %T is no *Error", v.name, err)
			continue
		}
		if e.Fact == "" || e.Remedy == "" || len(err.Error()) > 400 {
			t.Errorf("%s: fact %q, remedy %q, %d bytes", v.name, e.Fact, e.Remedy, len(err.Error()))
		}
		for _, r := range err.Error() {
			if r < ' ' {
				t.Errorf("%s: the message is more than one line: %q", v.name, err)
			}
		}
		if first := e.Fact[0]; first < 'a' || first > 'z' {
			t.Errorf("%s: %q does not begin in lower case", v.name, e.Fact)
		}
		if last := e.Remedy[len(e.Remedy)-1]; last == '.' || last == '\n' {
			t.Errorf("%s: %q ends like a sentence", v.name, e.Remedy)
		}
	}
	for _, reason := range []Reason{Expired, NotYetValid, UnknownAuthority, SignatureInvalid, NotCA, IsCA, NotSelfSigned, UsageMissing, NameMissing, ChainRefused, KeyIdentifierMissing, AlgorithmUnsupported} {
		if !seen[reason] {
			t.Errorf("no case ends in %s", reason)
		}
	}
}
