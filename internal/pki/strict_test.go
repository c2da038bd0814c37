package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// presented is what a verifier is shown and holds, as DER: some of it crypto/x509 cannot even read.
type presented struct {
	chain, anchors [][]byte
	usage          Usage
	host           string
	at             time.Time
}

func show(chain []*x509.Certificate, anchors ...*x509.Certificate) presented {
	return presented{ders(chain), ders(anchors), ServerAuth, hippo, epoch}
}

func ders(certificates []*x509.Certificate) (out [][]byte) {
	for _, c := range certificates {
		out = append(out, c.Raw)
	}
	return out
}

// request reads it as the product does; an error is a refusal.
func (p presented) request() (VerifyRequest, error) {
	r := VerifyRequest{At: p.at, Usage: p.usage, DNSName: p.host}
	for from, to := range map[*[][]byte]*[]*x509.Certificate{&p.chain: &r.Chain, &p.anchors: &r.Anchors} {
		for _, der := range *from {
			read, err := parseCertificates(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der}))
			if err != nil {
				return r, err
			}
			*to = append(*to, read...)
		}
	}
	return r, nil
}

// strictCase is a difference between verifiers. good: everybody accepts it.
type strictCase struct {
	name string
	good bool
	make func(*testing.T) presented
}

// editedLeaf is a leaf under a fresh root, edited; the root stays as it is.
func editedLeaf(edits ...func(*signedPart)) func(*testing.T) presented {
	return func(t *testing.T) presented {
		a := forgeCA(t, "root", nil)
		p := show(nil, a.Certificate)
		p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, edits...)}
		return p
	}
}

// editedRoot is a leaf under a root that was edited and signed itself again.
func editedRoot(edits ...func(*signedPart)) func(*testing.T) presented {
	return func(t *testing.T) presented {
		a := forgeCA(t, "root", nil)
		p := show(forgeLeaf(t, a))
		p.anchors = [][]byte{remade(t, a.Certificate, a.Key, edits...)}
		return p
	}
}

// editedIntermediate is a leaf under an intermediate that was edited, under a root.
func editedIntermediate(edits ...func(*signedPart)) func(*testing.T) presented {
	return func(t *testing.T) presented {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root)
		p := show(forgeLeaf(t, issuing), root.Certificate)
		p.chain = append(p.chain, remade(t, issuing.Certificate, root.Key, edits...))
		return p
	}
}

func asClient(make func(*testing.T) presented) func(*testing.T) presented {
	return func(t *testing.T) presented {
		p := make(t)
		p.usage, p.host = ClientAuth, ""
		return p
	}
}

func anyHost(make func(*testing.T) presented) func(*testing.T) presented {
	return func(t *testing.T) presented {
		p := make(t)
		p.host = ""
		return p
	}
}

var strictCases = slices.Concat([]strictCase{
	{"nothing edited: leaf", true, editedLeaf()},
	{"nothing edited: root", true, editedRoot()},
	{"nothing edited: intermediate", true, editedIntermediate()},

	{"CA: basic constraints not critical, root", false, editedRoot(critical(idBasicConstraints, false))},
	{"CA: basic constraints not critical, intermediate", false, editedIntermediate(critical(idBasicConstraints, false))},
	{"CA: no basic constraints", false, editedRoot(without(idBasicConstraints))},
	{"CA: no key usage", false, editedIntermediate(without(idKeyUsage))},
	{"CA: key usage not critical", true, editedIntermediate(critical(idKeyUsage, false))},
	{"CA: version 1, root", false, editedRoot(versionOne)},
	{"CA: version 1, intermediate", false, editedIntermediate(versionOne)},
	{"CA: version 1 with extensions", false, editedRoot(versionOneWithExtensions)},
	{"CA: no authority key identifier, intermediate", false, editedIntermediate(without(idAuthorityKey))},
	{"CA: no subject key identifier, root", false, editedRoot(without(idSubjectKey))},
	{"CA: no subject key identifier, intermediate", false, editedIntermediate(without(idSubjectKey))},
	{"CA: path length and no keyCertSign", false, editedIntermediate(extension(idBasicConstraints, true, 0x30, 6, 1, 1, 0xff, 2, 1, 1), extension(idKeyUsage, true, 3, 2, 1, 2))},
	{"CA: path length 0 under a leaf", true, editedIntermediate(extension(idBasicConstraints, true, 0x30, 6, 1, 1, 0xff, 2, 1, 0))},
	{"CA: path length 0 above another CA", false, editedRootAboveIntermediate(extension(idBasicConstraints, true, 0x30, 6, 1, 1, 0xff, 2, 1, 0))},
	{"CA: extended key usage for servers", true, editedIntermediate(extension(idExtKeyUsage, false, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1))},
	{"CA: extended key usage for clients, intermediate", false, editedIntermediate(extension(idExtKeyUsage, false, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2))},
	{"CA: extended key usage for clients, root", false, editedRoot(extension(idExtKeyUsage, false, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2))},
	{"CA: a Netscape type that is no CA, where basic constraints decide", true, editedIntermediate(extension(idNetscapeType, false, 3, 2, 6, 0x40))},
	{"CA: no subject", false, editedRoot(withoutSubject)},
	{"CA: unknown critical extension, root", false, editedRoot(extension([]int{1, 2, 3, 4}, true, 5, 0))},
	{"CA: unknown critical extension, intermediate", false, editedIntermediate(extension([]int{1, 2, 3, 4}, true, 5, 0))},
	{"CA: signed with SHA-1, root", true, editedRoot(signedWithSHA1)},
	{"CA: signed with SHA-1, intermediate", false, editedIntermediate(signedWithSHA1)},

	{"leaf: signed with SHA-1", false, editedLeaf(signedWithSHA1)},
	{"leaf: no authority key identifier", false, editedLeaf(without(idAuthorityKey))},
	{"leaf: no subject key identifier", true, editedLeaf(without(idSubjectKey))},
	{"leaf: authority key identifier critical", false, editedLeaf(critical(idAuthorityKey, true))},
	{"leaf: subject key identifier critical", false, editedLeaf(critical(idSubjectKey, true))},
	{"leaf: no subject, critical SAN", true, editedLeaf(withoutSubject, critical(idSubjectAltName, true))},
	{"leaf: no subject, SAN not critical", false, editedLeaf(withoutSubject, critical(idSubjectAltName, false))},
	{"leaf: no subject, no SAN", false, anyHost(editedLeaf(withoutSubject, without(idSubjectAltName)))},
	{"leaf: no issuer", false, editedLeaf(withoutIssuer)},
	{"leaf: SAN without a name", false, anyHost(editedLeaf(extension(idSubjectAltName, false, 0x30, 0)))},
	{"leaf: SAN that is no sequence", false, anyHost(editedLeaf(extension(idSubjectAltName, false, 4, 1, 0)))},
	{"leaf: SAN that is cut", false, anyHost(editedLeaf(extension(idSubjectAltName, false, 0x30, 5, 0x82, 9, 'a')))},
	{"leaf: SAN twice", false, editedLeaf(twice(idSubjectAltName))},
	{"leaf: basic constraints twice", false, editedLeaf(twice(idBasicConstraints))},
	{"leaf: no basic constraints", true, editedLeaf(without(idBasicConstraints))},
	{"leaf: path length", false, editedLeaf(extension(idBasicConstraints, true, 0x30, 3, 2, 1, 0))},
	{"leaf: key usage keyCertSign", false, editedLeaf(extension(idKeyUsage, true, 3, 2, 2, 0x84))},
	{"leaf: key usage without a bit", false, editedLeaf(extension(idKeyUsage, true, 3, 1, 0))},
	{"leaf: key usage with bits that are all zero", false, editedLeaf(extension(idKeyUsage, true, 3, 2, 7, 0))},
	{"leaf: extended key usage without a purpose", false, editedLeaf(extension(idExtKeyUsage, false, 0x30, 0))},
	{"leaf: Netscape type server", true, editedLeaf(extension(idNetscapeType, false, 3, 2, 6, 0x40))},
	{"leaf: Netscape type client only", false, editedLeaf(extension(idNetscapeType, false, 3, 2, 7, 0x80))},
	{"leaf: a Netscape type that is no bit string", false, editedLeaf(extension(idNetscapeType, false, 5, 0))},
	{"leaf: Netscape type server, as a client's", false, asClient(editedLeaf(without(idExtKeyUsage), extension(idNetscapeType, false, 3, 2, 6, 0x40)))},
	{"leaf: version 1", false, anyHost(editedLeaf(versionOne))},
	{"leaf: unknown critical extension", false, editedLeaf(extension([]int{1, 2, 3, 4}, true, 5, 0))},
	{"leaf: its issuer's serial, right", true, func(t *testing.T) presented { return pointing(t, true) }},
	{"leaf: its issuer's serial, wrong", false, func(t *testing.T) presented { return pointing(t, false) }},

	{"names: the subject that a CA may issue for, not critical", false, func(t *testing.T) presented { return constrained(t, false) }},
	{"names: the subject that a CA may issue for, critical", false, func(t *testing.T) presented { return constrained(t, true) }},
	{"names: a common name that looks like a host, under a CA for other hosts", false, asClient(func(t *testing.T) presented {
		a := forgeCA(t, "root", nil, permits("example.com"))
		return show(forgeLeaf(t, a, named(hippo), func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), a.Certificate)
	})},
	{"names: an excluded host", false, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil, func(c *x509.Certificate) {
			c.ExcludedDNSDomains, c.PermittedDNSDomainsCritical = []string{"postgres.svc"}, true
		})
		return show(forgeLeaf(t, a), a.Certificate)
	}},
	{"names: permitted", true, func(t *testing.T) presented {
		a := forgeCA(t, "root", nil, permits("postgres.svc"))
		return show(forgeLeaf(t, a), a.Certificate)
	}},

	{"two CAs of one name, leaf without identifier, the wrong one first", false, func(t *testing.T) presented { return namesakes(t, true) }},
	{"two CAs of one name, leaf without identifier, the right one first", false, func(t *testing.T) presented { return namesakes(t, false) }},
	{"an Ed25519 client under an Ed25519 CA", true, asClient(func(t *testing.T) presented {
		key := pkitest.Ed25519Key()
		a := &Authority{Certificate: forge(t, caTemplate("root"), key, nil), Key: key}
		leaf := forge(t, leafTemplate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), pkitest.Ed25519Key(), a)
		return show([]*x509.Certificate{leaf}, a.Certificate)
	})},
}, bridgeCases())

// editedRootAboveIntermediate is a leaf under an intermediate under a root that was edited.
func editedRootAboveIntermediate(edits ...func(*signedPart)) func(*testing.T) presented {
	return func(t *testing.T) presented {
		root := forgeCA(t, "root", nil)
		issuing := forgeCA(t, "issuing", root)
		p := show(append(forgeLeaf(t, issuing), issuing.Certificate))
		p.anchors = [][]byte{remade(t, root.Certificate, root.Key, edits...)}
		return p
	}
}

// pointing is a leaf that names its issuer by serial as well: a CA that was renewed with its key has another one.
func pointing(t *testing.T, right bool) presented {
	a := forgeCA(t, "root", nil)
	serial := a.Certificate.SerialNumber
	if !right {
		serial = newSerial()
	}
	p := show(nil, a.Certificate)
	p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, pointsTo(t, a.Certificate, serial))}
	return p
}

// constrained is a leaf of "CN=foreign leaf" under a CA that may issue for another organization alone.
func constrained(t *testing.T, must bool) presented {
	a := forgeCA(t, "root", nil)
	p := show(forgeLeaf(t, a))
	p.anchors = [][]byte{remade(t, a.Certificate, a.Key, extension(idNameConstraints, must, permitsSubject(t, "elsewhere")...))}
	return p
}

// namesakes are two CAs of one subject; only their keys differ, and the leaf does not say which.
func namesakes(t *testing.T, wrongFirst bool) presented {
	a, other := forgeCA(t, "root", nil), forgeCA(t, "root", nil)
	p := show(nil, a.Certificate, other.Certificate)
	if wrongFirst {
		slices.Reverse(p.anchors)
	}
	p.chain = [][]byte{remade(t, forgeLeaf(t, a)[0], a.Key, without(idAuthorityKey))}
	return p
}

// bridgeCases are the chains that four generations may present to a verifier that holds some of them, as design.md section 4 has it
// and in every way in which it may go wrong.
func bridgeCases() (cases []strictCase) {
	add := func(name string, good bool, at time.Time, chain func(f family) []*x509.Certificate, holds ...int) {
		cases = append(cases, strictCase{"bridges: " + name, good, func(t *testing.T) presented {
			f := aFamily(t)
			p := show(chain(f))
			p.at = at
			for _, g := range holds {
				p.anchors = append(p.anchors, f.generation[g].Certificate.Raw)
			}
			return p
		}})
	}
	forward := func(f family) []*x509.Certificate { return f.chain(2, [2]int{2, 1}) }
	backward := func(f family) []*x509.Certificate { return f.chain(1, [2]int{1, 2}) }
	twoForward := func(f family) []*x509.Certificate { return f.chain(3, [2]int{3, 2}, [2]int{2, 1}) }
	twoBackward := func(f family) []*x509.Certificate { return f.chain(1, [2]int{1, 2}, [2]int{2, 3}) }
	threeForward := func(f family) []*x509.Certificate { return f.chain(4, [2]int{4, 3}, [2]int{3, 2}, [2]int{2, 1}) }
	for name, holds := range map[string][]int{"old only": {1}, "both": {1, 2}, "both, newest first": {2, 1}, "new only": {2}} {
		add("forward, "+name, true, epoch, forward, holds...)
		add("backward, "+name, true, epoch, backward, holds...)
	}
	for _, holds := range [][]int{{1}, {2}, {3}, {1, 2}, {2, 3}, {3, 2, 1}} {
		add(fmt.Sprintf("after two re-keys, forward, %v", holds), true, epoch, twoForward, holds...)
		add(fmt.Sprintf("after two re-keys, backward, %v", holds), true, epoch, twoBackward, holds...)
	}
	add("three of them, for a verifier that holds g1 alone: the path length", false, epoch, threeForward, 1)
	add("three of them, for a verifier that holds g2", true, epoch, threeForward, 2)
	add("a second before the bridge ends", true, epoch.Add(year-time.Second), func(f family) []*x509.Certificate { return f.lasting(forward(f)) }, 1)
	add("at the very end of the bridge", false, epoch.Add(year), func(f family) []*x509.Certificate { return f.lasting(forward(f)) }, 1)
	add("the bridge has ended, and a verifier that holds g2 does not need it", true, epoch.Add(year), func(f family) []*x509.Certificate { return f.lasting(forward(f)) }, 2)
	add("none, for a verifier that holds g1", false, epoch, func(f family) []*x509.Certificate { return f.chain(2) }, 1)
	add("the wrong direction", false, epoch, func(f family) []*x509.Certificate { return f.chain(2, [2]int{1, 2}) }, 1)
	add("a loop, for a stranger", false, epoch, func(f family) []*x509.Certificate { return f.chain(2, [2]int{2, 1}, [2]int{1, 2}, [2]int{2, 1}) }, 4)
	add("a loop, for a verifier that holds g1", true, epoch, func(f family) []*x509.Certificate { return f.chain(2, [2]int{2, 1}, [2]int{1, 2}) }, 1)
	add("a loop of three, for a verifier that holds g3", true, epoch, func(f family) []*x509.Certificate { return f.chain(1, [2]int{1, 2}, [2]int{2, 3}, [2]int{3, 1}) }, 3)
	add("a bridge as the only anchor", false, epoch, func(f family) []*x509.Certificate { return f.chain(2) })
	return cases
}

// family is four generations; bridges are made as they are needed.
type family struct {
	t          *testing.T
	generation map[int]*Authority
}

func aFamily(t *testing.T) family {
	f := family{t, map[int]*Authority{}}
	for g := 1; g <= 4; g++ {
		f.generation[g] = newAuthority(t, fmt.Sprintf("hippo server ca g%d", g))
	}
	return f
}

// chain is a leaf of a generation and bridges, each given as about whom and by whom.
func (f family) chain(leaf int, bridges ...[2]int) []*x509.Certificate {
	chain := slices.Clone(newServer(f.t, f.generation[leaf]).Chain)
	for _, b := range bridges {
		chain = append(chain, bridgeTo(f.t, f.generation[b[0]], f.generation[b[1]]))
	}
	return chain
}

// lasting gives the chain a leaf that outlives its bridge.
func (f family) lasting(chain []*x509.Certificate) []*x509.Certificate {
	r := serverRequest(hippo)
	r.NotAfter = epoch.Add(year + day)
	return append(must[*KeyPair](f.t)(f.generation[2].Issue(r)).Chain, chain[1:]...)
}

// opensslAnswers puts it to "openssl verify", plain and with -x509_strict.
func (p presented) opensslAnswers(t *testing.T) (plain, strict error) {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, certificates [][]byte) string {
		var text bytes.Buffer
		for _, der := range certificates {
			_ = pem.Encode(&text, &pem.Block{Type: certificateBlock, Bytes: der})
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"verify", "-auth_level", "2", "-no-CApath", "-no-CAstore", "-attime", fmt.Sprint(p.at.Unix()),
		"-purpose", map[Usage]string{ServerAuth: "sslserver", ClientAuth: "sslclient"}[p.usage], "-CAfile", file("anchors.pem", p.anchors)}
	if len(p.chain) > 1 {
		args = append(args, "-untrusted", file("untrusted.pem", p.chain[1:]))
	}
	if _, err := netip.ParseAddr(p.host); err == nil {
		args = append(args, "-verify_ip", p.host)
	} else if p.host != "" {
		args = append(args, "-verify_hostname", p.host)
	}
	args = append(args, file("leaf.pem", p.chain[:1]))
	answer := func(args []string) error {
		out, err := openssl(t, nil, args...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	return answer(args), answer(slices.Insert(slices.Clone(args), 1, "-x509_strict"))
}

// lenientRefuses are the cases in which Verify with Lenient refuses what both plain OpenSSL and crypto/x509 accept, and why.
var lenientRefuses = map[string]string{
	"leaf: path length":                                                                 "OpenSSL 1.1 refuses it",
	"leaf: SAN without a name":                                                          "there is no name in it that a verifier could look for",
	"leaf: no subject, no SAN":                                                          "there is no name in it that a verifier could look for",
	"verdict: a CA with a server's names and usage":                                     "a pod's key could sign others",
	"verdict: a self-signed leaf as its own anchor":                                     "it cannot be renewed under its anchor",
	"verdict: an Ed25519 server":                                                        "SCRAM's channel binding fails",
	"verdict: a server signed with Ed25519":                                             "SCRAM's channel binding fails",
	"external: an Ed25519 server":                                                       "SCRAM's channel binding fails",
	"verdict: P-224":                                                                    "Go's TLS has no such curve",
	"verdict: issuers in the wrong order":                                               "Java looks at the order; package custom mends it",
	"verdict: an intermediate beside its root in the bundle":                            "where OpenSSL stops depends on the version; package custom mends it",
	"verdict: an anchor that only claims to have signed itself":                         "it is damaged",
	"verdict: a weak anchor that is not needed":                                         "package custom leaves it out",
	"verdict: the same two the other way round":                                         luck,
	"two CAs of one name, leaf without identifier, the right one first":                 luck,
	"external: two roots of one name, the leaf does not say which, the right one first": luck,
	"external: two issuers of one name, and the leaf does not say which":                luck,
}

const luck = "it works by the order alone"

// TestVerifyIsNeverLooserThanOpenSSL puts every case of TestVerify, of strictCases and of externalCases to Verify, with Lenient and
// without, to crypto/x509, to "openssl verify" and to "openssl verify -x509_strict". What Verify accepts both commands accept, and
// what is right all four accept. What Verify accepts with Lenient, plain openssl and crypto/x509 accept; and what these two accept
// it refuses only for a reason that is noted.
func TestVerifyIsNeverLooserThanOpenSSL(t *testing.T) {
	needOpenSSL(t)
	cases := slices.Clone(strictCases)
	for _, c := range externalCases {
		cases = append(cases, strictCase{"external: " + c.name, c.want == "" && len(c.tolerated) == 0, c.make})
	}
	for _, v := range verdicts {
		if v.openssl != noOpensslAnswer && v.name != "an address among the DNS names" {
			cases = append(cases, strictCase{"verdict: " + v.name, v.want == "", func(t *testing.T) presented {
				r := v.request(t)
				return presented{ders(r.Chain), ders(r.Anchors), r.Usage, r.DNSName, r.At}
			}})
		}
	}
	var ours, lenients, plains, stricts, gos int
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := c.make(t)
			r, err := p.request()
			golang, lenient := err, err
			if err == nil {
				err, golang = Verify(r), goVerify(r)
				r.Lenient = true
				lenient = Verify(r)
			}
			plain, strict := p.opensslAnswers(t)
			for count, accepted := range map[*int]bool{&ours: err == nil, &lenients: lenient == nil, &plains: plain == nil, &stricts: strict == nil, &gos: golang == nil} {
				if accepted {
					*count++
				}
			}
			if err == nil && (plain != nil || strict != nil) {
				t.Fatalf("we accept, openssl says %v, strict %v", plain, strict)
			}
			if c.good && (err != nil || plain != nil || strict != nil || golang != nil) {
				t.Errorf("it is right; we say %v, openssl %v, strict %v, Go %v", err, plain, strict, golang)
			}
			if !c.good && err == nil {
				t.Errorf("it is wrong and we accept it; openssl says %v, strict %v", plain, strict)
			}
			if err == nil && lenient != nil {
				t.Errorf("accepted as our own, and not with Lenient: %v", lenient)
			}
			if lenient == nil && (plain != nil || golang != nil) {
				t.Fatalf("we accept it from elsewhere, openssl says %v, Go %v", plain, golang)
			}
			if lenient == nil && strict != nil && len(Tolerated(r)) == 0 {
				t.Errorf("openssl -x509_strict refuses it, and nothing is noted as tolerated: %v", strict)
			}
			why, noted := lenientRefuses[c.name]
			if works := plain == nil && golang == nil; (works && lenient != nil) != noted {
				t.Errorf("openssl says %v, Go %v, we say %v of it with Lenient; noted: %q", plain, golang, lenient, why)
			}
		})
	}
	t.Logf("%d cases; accepted by Verify %d, with Lenient %d, by openssl verify %d, with -x509_strict %d, by crypto/x509 %d", len(cases), ours, lenients, plains, stricts, gos)
}
