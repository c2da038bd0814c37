package corpus

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// rightCases work for servers and must be accepted.
func rightCases(role custom.Role) []sketch {
	return slices.Concat(keyKindCases(), shapeCases(), anchorCases(), peerCases(role), textRightCases(), warnedCases(), nameRightCases())
}

// keyText is a key as it is written.
type keyText struct {
	signer crypto.Signer
	text   []byte
}

func sec1(curve elliptic.Curve) keyText {
	k := pkitest.ECKeyOn(curve)
	return keyText{k, traditional(k)}
}

func keyKindCases() []sketch {
	withLeafKey := func(k func() keyText) func(maker) custom.Input {
		return func(m maker) custom.Input {
			root := m.root("root")
			made := k()
			leaf := m.leaf(root, withKey(made.signer))
			return files(pemOf(leaf), made.text, pemOf(root))
		}
	}
	return []sketch{
		{name: "ECDSA P-256, PKCS#8", input: maker.good},
		{name: "ECDSA P-256, SEC 1", input: withLeafKey(func() keyText { return sec1(elliptic.P256()) })},
		{name: "ECDSA P-384", input: withLeafKey(func() keyText { return sec1(elliptic.P384()) })},
		{name: "ECDSA P-521", input: withLeafKey(func() keyText { return sec1(elliptic.P521()) })},
		{name: "RSA 2048, PKCS#8", input: withLeafKey(func() keyText { return keyText{pkitest.RSAKey(2048), pkcs8(pkitest.RSAKey(2048))} })},
		{name: "RSA 3072, PKCS#1", input: withLeafKey(func() keyText { return keyText{pkitest.RSAKey(3072), traditional(pkitest.RSAKey(3072))} })},
		{name: "RSA 4096, PKCS#1", input: withLeafKey(func() keyText { return keyText{pkitest.RSAKey(4096), traditional(pkitest.RSAKey(4096))} })},
		{name: "EC PARAMETERS before the key, as openssl ecparam writes", input: withLeafKey(func() keyText {
			k := sec1(elliptic.P256())
			parameters := block("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})
			return keyText{k.signer, append(parameters, k.text...)}
		})},
		{name: "signed with SHA-512", input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, func(r *recipe) { r.SignatureAlgorithm = x509.ECDSAWithSHA512 })), root)
		}},
		{name: "signed with RSA-PSS", input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(2048)))
			return secret(chain(m.leaf(root, func(r *recipe) { r.SignatureAlgorithm = x509.SHA256WithRSAPSS })), root)
		}},
		{name: "all of RSA", input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(4096)))
			issuing := m.under(root, "issuing", withKey(pkitest.RSAKey(3072)))
			return secret(chain(m.leaf(issuing, withKey(pkitest.RSAKey(2048))), issuing), root)
		}},
	}
}

func shapeCases() []sketch {
	return []sketch{
		{name: "a chain of three", input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "a chain of four", input: func(m maker) custom.Input {
			root := m.root("root")
			policy := m.under(root, "policy")
			issuing := m.under(policy, "issuing")
			return secret(chain(m.leaf(issuing), issuing, policy), root)
		}},
		{name: "a chain of five", input: func(m maker) custom.Input {
			root := m.root("root")
			region := m.under(root, "region")
			policy := m.under(region, "policy")
			issuing := m.under(policy, "issuing")
			return secret(chain(m.leaf(issuing), issuing, policy, region), root)
		}},
		{name: "cert-manager with a CA issuer", input: func(m maker) custom.Input {
			root := m.root("hippo-ca")
			return files(pemOf(m.leafAs(root)), traditional(pkitest.RSAKey(2048)), pemOf(root))
		}},
		{name: "cert-manager with an intermediate", input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "hippo-ca")
			return files(pemOf(m.leafAs(issuing), issuing), traditional(pkitest.RSAKey(2048)), pemOf(root))
		}},
		{name: "cert-manager, as in PGO's example", warns: reasons(custom.EqualLives, custom.LeafOutlivesAuthority), input: func(m maker) custom.Input {
			// The CA has cert-manager's default of 90 days, as what it issues.
			root := m.root("postgres-operator", usable(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment|x509.KeyUsageCertSign),
				starting(m.now.Add(-2*day)), ending(m.now.Add(88*day)))
			leaf := m.leaf(root, called("postgres-operator"), purposes(), usable(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment),
				starting(m.now.Add(-day)), ending(m.now.Add(89*day)), after(dropExtension(idSubjectKey)))
			return files(pemOf(leaf), traditional(leaf.key), pemOf(root))
		}},
		{name: "openssl x509 -req since 3.2, with alternative names alone", input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(4096)))
			leaf := m.leaf(root, withKey(pkitest.RSAKey(2048)), purposes(), usable(0), func(r *recipe) { r.BasicConstraintsValid = false })
			return secret(chain(leaf), root)
		}},
		{name: "cross-signed, for verifiers of the old root", input: func(m maker) custom.Input {
			old := m.root("old root")
			now := m.root("new root")
			bridge := m.under(old, "new root", withKey(now.key), func(r *recipe) { r.SubjectKeyId = now.SubjectKeyId })
			return secret(chain(m.leaf(now), bridge), old)
		}},
		{name: "cross-signed, for verifiers of the new root", input: func(m maker) custom.Input {
			old := m.root("old root")
			now := m.root("new root")
			bridge := m.under(old, "new root", withKey(now.key), func(r *recipe) { r.SubjectKeyId = now.SubjectKeyId })
			return secret(chain(m.leaf(now), bridge), now)
		}},
		{name: "the root is presented too", input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing), issuing, root), root)
		}},
		{name: "the leaf is presented twice", input: func(m maker) custom.Input {
			root := m.root("root")
			leaf := m.leaf(root)
			return secret(chain(leaf, leaf), root)
		}},
		{name: "a stranger is presented too", input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root), m.under(m.root("elsewhere"), "stranger")), root)
		}},
		{name: "issuers in the wrong order", warns: reasons(custom.ChainRearranged), input: func(m maker) custom.Input {
			root := m.root("root")
			policy := m.under(root, "policy")
			issuing := m.under(policy, "issuing")
			return secret(chain(m.leaf(issuing), policy, issuing), root)
		}},
		{name: "the issuer stands in ca.crt beside the root", warns: reasons(custom.ChainRearranged, custom.NotSelfSigned), input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing)), issuing, root)
		}},
	}
}

// leafAs is what cert-manager asks for: usages digital signature and key encipherment, a PKCS#1 key of RSA 2048.
func (m maker) leafAs(parent issued) issued {
	return m.leaf(parent, withKey(pkitest.RSAKey(2048)), usable(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment))
}

func anchorCases() []sketch {
	return []sketch{
		{name: "ACME, without ca.crt", input: func(m maker) custom.Input { return m.acme() }},
		{name: "ACME, with an empty ca.crt", input: func(m maker) custom.Input {
			in := m.acme()
			in.Data[ca] = []byte{}
			return in
		}},
		{name: "without ca.crt, to an additional anchor", input: func(m maker) custom.Input {
			root := m.root("root")
			in := secret(chain(m.leaf(root)))
			delete(in.Data, ca)
			in.Trust = certificates(root)
			return in
		}},
		{name: "to an additional anchor, with the next one in ca.crt", input: func(m maker) custom.Input {
			root := m.root("root")
			in := secret(chain(m.leaf(root)), m.root("next root"))
			in.Trust = certificates(root)
			return in
		}},
		{name: "several anchors", input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root)), m.root("before"), root, m.root("after"))
		}},
		{name: "the authority was renewed with its key", input: func(m maker) custom.Input {
			root := m.root("root")
			renewed := m.root("root", withKey(root.key), func(r *recipe) { r.SubjectKeyId = root.SubjectKeyId })
			return secret(chain(m.leaf(root)), renewed, root)
		}},
		{name: "an authority that signed itself with SHA-1", input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(2048)), sha1WithRSA)
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "an anchor twice", warns: reasons(custom.Duplicate), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root)), root, root)
		}},
		{name: "an expired anchor besides", warns: reasons(custom.Expired), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root)), m.root("old root", ending(m.now.Add(-day))), root)
		}},
		{name: "the expired certificate of the same authority besides", warns: reasons(custom.Expired), input: func(m maker) custom.Input {
			root := m.root("root")
			before := m.root("root", withKey(root.key), ending(m.now.Add(-day)), func(r *recipe) { r.SubjectKeyId = root.SubjectKeyId })
			return secret(chain(m.leaf(root)), before, root)
		}},
		{name: "an anchor of the future besides", warns: reasons(custom.NotYetValid), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root)), m.root("next root", starting(m.now.Add(day))), root)
		}},
		{name: "the leaf stands in ca.crt too", warns: reasons(custom.NotCA), input: func(m maker) custom.Input {
			root := m.root("root")
			leaf := m.leaf(root)
			return secret(chain(leaf), leaf, root)
		}},
		{name: "an authority of RSA 1024 besides", warns: reasons(custom.AlgorithmUnsupported), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root)), m.root("old root", withKey(pkitest.RSAKey(1024))), root)
		}},
	}
}

// peerCases are about the anchors in the replication's Secret, which a pooler does not ask.
func peerCases(role custom.Role) []sketch {
	if role != custom.Instance {
		return nil
	}
	return []sketch{
		{name: "one CA in both Secrets", input: func(m maker) custom.Input {
			root := m.root("root")
			in := secret(chain(m.leaf(root)), root)
			in.PeerTrust = certificates(root)
			return in
		}},
		{name: "each Secret holds the CA of the other", input: func(m maker) custom.Input {
			root := m.root("servers' root")
			in := secret(chain(m.leaf(root)), m.root("clients' root"))
			in.PeerTrust = certificates(root)
			return in
		}},
		{name: "the replication's Secret does not accept it", warns: reasons(custom.PeerUntrusted), input: func(m maker) custom.Input {
			root := m.root("servers' root")
			in := secret(chain(m.leaf(root)), root)
			in.PeerTrust = certificates(m.root("clients' root"))
			return in
		}},
	}
}

// acme is the Secret of a public authority: a chain, and no word about its root.
func (m maker) acme() custom.Input {
	root := m.root("Public Root X1", withKey(pkitest.RSAKey(4096)))
	issuing := m.under(root, "E1")
	in := secret(chain(m.leaf(issuing), issuing))
	delete(in.Data, ca)
	in.SystemRoots = certificates(m.root("Other Public Root"), root)
	return in
}

func textRightCases() []sketch {
	everywhere := func(f func([]byte) []byte) func(maker) custom.Input {
		return func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			in := secret(chain(m.leaf(issuing), issuing), root)
			for name, text := range in.Data {
				in.Data[name] = f(text)
			}
			return in
		}
	}
	return []sketch{
		{name: "line ends of Windows", input: everywhere(crlf)},
		{name: "no line end at the end", input: everywhere(bytes.TrimSpace)},
		{name: "base64 on one long line", input: everywhere(oneLine)},
		{name: "comments around", input: everywhere(func(text []byte) []byte {
			return slices.Concat([]byte("# Zertifikat für hippo\n\nsubject=CN = hippo\n"), text, []byte("# end\n"))
		})},
		{name: "byte order marks, as Windows editors write them", input: everywhere(byteOrderMark)},
		{name: "a byte order mark before a comment", input: everywhere(func(text []byte) []byte { return slices.Concat([]byte("\ufeff# made by hand\n"), text) })},
		{name: "blanks behind the lines", input: everywhere(func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("  \n")) })},
		{name: "binary after the end", warns: reasons(custom.TrailingGarbage), input: everywhere(func(text []byte) []byte { return slices.Concat(text, []byte{0xff, 0xfe, 0, 1, '\n'}) })},
		{name: "a comment in Latin-1", warns: reasons(custom.TrailingGarbage), input: everywhere(func(text []byte) []byte { return slices.Concat([]byte("# f\xfcr hippo\n"), text) })},
		{name: "cut within the marker of one more block", warns: reasons(custom.TrailingGarbage), input: everywhere(func(text []byte) []byte { return slices.Concat(text, []byte("-----BEGI")) })},
		{name: "the certificate in tls.key too, before the key", warns: reasons(custom.UnexpectedBlock), input: func(m maker) custom.Input {
			in := m.good()
			in.Data[key] = slices.Concat(in.Data[crt], in.Data[key])
			return in
		}},
		{name: "another key behind the right one", warns: reasons(custom.UnexpectedBlock), input: func(m maker) custom.Input {
			in, other := m.good(), m.good()
			in.Data[key] = slices.Concat(in.Data[key], other.Data[key])
			return in
		}},
		{name: "a damaged block behind the key", warns: reasons(custom.TrailingGarbage), input: func(m maker) custom.Input {
			in := m.good()
			in.Data[key] = slices.Concat(in.Data[key], half(in.Data[crt]))
			return in
		}},
		{name: "the key in tls.crt too", warns: reasons(custom.UnexpectedBlock), input: func(m maker) custom.Input {
			in := m.good()
			in.Data[crt] = slices.Concat(in.Data[crt], in.Data[key])
			return in
		}},
		{name: "the authority's key in ca.crt too", warns: reasons(custom.UnexpectedBlock), input: func(m maker) custom.Input {
			root := m.root("root")
			in := secret(chain(m.leaf(root)), root)
			in.Data[ca] = slices.Concat(in.Data[ca], pkcs8(root.key))
			return in
		}},
	}
}

func oneLine(text []byte) []byte {
	var out []byte
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		encoded := pem.EncodeToMemory(b)
		lines := bytes.Split(bytes.TrimSpace(encoded), []byte("\n"))
		out = slices.Concat(out, lines[0], []byte("\n"), bytes.Join(lines[1:len(lines)-1], nil), []byte("\n"), lines[len(lines)-1], []byte("\n"))
	}
	return out
}

func warnedCases() []sketch {
	return []sketch{
		{name: "ends soon", warns: reasons(custom.ExpiresSoon), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, starting(m.now.Add(-28*day)), ending(m.now.Add(2*day)))), root)
		}},
		{name: "ends soon, with a line break in its subject", warns: reasons(custom.ExpiresSoon), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, starting(m.now.Add(-28*day)), ending(m.now.Add(2*day)), called("hippo\nAll is well"))), root)
		}},
		{name: "ends soon, as is meant", input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, ending(m.now.Add(2*day)))), root) // two of three days are left
		}},
		{name: "the authority ends soon", warns: reasons(custom.ExpiresSoon, custom.LeafOutlivesAuthority), input: func(m maker) custom.Input {
			root := m.root("root", starting(m.now.Add(-700*day)), ending(m.now.Add(2*day)))
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "ends after its authority", warns: reasons(custom.LeafOutlivesAuthority), input: func(m maker) custom.Input {
			root := m.root("root", starting(m.now.Add(-700*day)), ending(m.now.Add(60*day)))
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "lives as long as its authority", warns: reasons(custom.EqualLives), input: func(m maker) custom.Input {
			root := m.root("root", starting(m.now.Add(-day)), ending(m.now.Add(90*day)))
			return secret(chain(m.leaf(root)), root)
		}},
	}
}

func nameRightCases() []sketch {
	with := func(edits func(hosts []string) []edit) func(maker) custom.Input {
		return func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, edits(m.hosts)...)), root)
		}
	}
	wildcard := func(hosts []string) string { _, rest, _ := strings.Cut(hosts[0], "."); return "*." + rest }
	return []sketch{
		{name: "a wildcard", input: with(func(hosts []string) []edit { return []edit{named(wildcard(hosts))} })},
		{name: "upper case", input: with(func(hosts []string) []edit { return []edit{named(replacedEach(hosts, strings.ToUpper)...)} })},
		{name: "no subject, critical alternative names", input: with(func([]string) []edit { return []edit{called("")} })},
		{name: "no purposes", input: with(func([]string) []edit { return []edit{purposes()} })},
		{name: "for servers and clients", input: with(func([]string) []edit { return []edit{purposes(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)} })},
		{name: "no key usage", input: with(func([]string) []edit { return []edit{usable(0)} })},
		{name: "a name with a dot at the end besides", warns: reasons(custom.NameMalformed), input: with(func(hosts []string) []edit {
			return []edit{named(append(slices.Clone(hosts), "db.example.com.")...)}
		})},
		{name: "an address as a DNS name besides", warns: reasons(custom.NameMalformed), input: with(func(hosts []string) []edit {
			return []edit{named(append(slices.Clone(hosts), "192.0.2.7")...)}
		})},
		{name: "an address", input: func(m maker) custom.Input {
			root := m.root("root")
			in := secret(chain(m.leaf(root, func(r *recipe) { r.IPAddresses = []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")} })), root)
			in.Names = append(slices.Clone(m.hosts), "192.0.2.7", "2001:db8::7")
			return in
		}},
		{name: "another name is missing", warns: reasons(custom.NameMissing), input: func(m maker) custom.Input {
			in := m.good()
			in.OtherNames = []string{"db.example.com"}
			return in
		}},
		{name: "the authority may issue for these hosts", input: func(m maker) custom.Input {
			_, rest, _ := strings.Cut(m.hosts[0], ".")
			root := m.root("root", func(r *recipe) { r.PermittedDNSDomains, r.PermittedDNSDomainsCritical = []string{rest}, true })
			return secret(chain(m.leaf(root)), root)
		}},
	}
}

func reasons(list ...custom.Reason) []custom.Reason { return list }
