package corpus

import (
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// chainCases are chains that lead nowhere, or not now. They hold for servers and for clients.
func chainCases() []sketch {
	return slices.Concat(pathCases(), timeCases(), constraintCases(), algorithmCases(), handMadeCases())
}

func pathCases() []sketch {
	return []sketch{
		{name: "the issuer is missing", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing)), root)
		}},
		{name: "one of two issuers is missing", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			root := m.root("root")
			policy := m.under(root, "policy")
			issuing := m.under(policy, "issuing")
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "the issuer stands first", want: custom.KeyMismatch, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			leaf := m.leaf(issuing)
			return files(pemOf(issuing, leaf), pkcs8(leaf.key), pemOf(root))
		}},
		{name: "ca.crt holds another authority", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			return secret(chain(m.leaf(m.root("root"))), m.root("stranger"))
		}},
		{name: "a public authority has issued it, and ca.crt holds another one", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			in := m.acme()
			in.Data[ca] = pemOf(m.root("stranger"))
			return in
		}},
		{name: "a public authority has issued it, and those are not allowed", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			in := m.acme()
			in.SystemRoots = nil
			return in
		}},
		{name: "ca.crt holds the leaf alone", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			leaf := m.leaf(m.root("root"))
			return secret(chain(leaf), leaf)
		}},
		{name: "ca.crt holds the issuer and not the root", want: custom.NotSelfSigned, input: func(m maker) custom.Input {
			issuing := m.under(m.root("root"), "issuing")
			return secret(chain(m.leaf(issuing)), issuing)
		}},
		{name: "ca.crt holds the issuer and not the root, tls.crt too", want: custom.NotSelfSigned, input: func(m maker) custom.Input {
			issuing := m.under(m.root("root"), "issuing")
			return secret(chain(m.leaf(issuing), issuing), issuing)
		}},
		{name: "the authority was made anew under the same name", want: custom.UnknownAuthority, input: func(m maker) custom.Input {
			return secret(chain(m.leaf(m.root("root"))), m.root("root"))
		}},
		{name: "the authority was made anew under the same name and key identifier", want: custom.SignatureInvalid, input: func(m maker) custom.Input {
			id := func(r *recipe) { r.SubjectKeyId = []byte("the same identifier") }
			return secret(chain(m.leaf(m.root("root", id))), m.root("root", id))
		}},
		{name: "self-signed, no CA, its own anchor", want: custom.SelfSigned, strict: "no renewal without cutting off every client", input: func(m maker) custom.Input {
			alone := m.selfSigned(func(r *recipe) { r.IsCA, r.MaxPathLen, r.KeyUsage = false, 0, x509.KeyUsageDigitalSignature })
			return secret(chain(alone), alone)
		}},
		{name: "self-signed, CA, its own anchor", want: custom.SelfSigned, strict: "no renewal without cutting off every client, and a pod's key that signs", input: func(m maker) custom.Input {
			alone := m.selfSigned()
			return secret(chain(alone), alone)
		}},
		{name: "the leaf is a CA", want: custom.IsCA, strict: "a pod's key could sign others", input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, func(r *recipe) { r.IsCA, r.MaxPathLen, r.KeyUsage = true, -1, r.KeyUsage|x509.KeyUsageCertSign })), root)
		}},
		{name: "no key identifiers, as openssl x509 -req before 3.2", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, after(dropExtension(idAuthorityKey)), after(dropExtension(idSubjectKey)))), root)
		}},
		{name: "an authority without key identifier", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root", after(dropExtension(idSubjectKey)), after(dropExtension(idAuthorityKey)))
			return secret(chain(m.leaf(root)), root)
		}},
	}
}

// selfSigned has the role's names and is what "openssl req -x509" makes.
func (m maker) selfSigned(edits ...edit) issued {
	r := m.authority(m.common)
	r.NotAfter = m.now.Add(365 * day)
	if m.role != custom.Replication {
		r.Subject, r.DNSNames = pkix.Name{CommonName: m.hosts[0]}, m.hosts
	}
	r.KeyUsage |= x509.KeyUsageDigitalSignature
	return m.sign(r, nil, edits)
}

func timeCases() []sketch {
	return []sketch{
		{name: "expired", want: custom.Expired, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, starting(m.now.Add(-20*day)), ending(m.now.Add(-day)))), root)
		}},
		{name: "ends before it begins", want: custom.ValidityMalformed, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, starting(m.now.Add(2*day)), ending(m.now.Add(day)))), root)
		}},
		{name: "not yet valid", want: custom.NotYetValid, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, starting(m.now.Add(day)))), root)
		}},
		{name: "the issuer has expired", want: custom.Expired, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing", ending(m.now.Add(-day)))
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "the authority has expired", want: custom.Expired, input: func(m maker) custom.Input {
			root := m.root("root", ending(m.now.Add(-day)))
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "the authority is not yet valid", want: custom.NotYetValid, input: func(m maker) custom.Input {
			root := m.root("root", starting(m.now.Add(day)))
			return secret(chain(m.leaf(root)), root)
		}},
	}
}

func constraintCases() []sketch {
	return []sketch{
		{name: "more CAs than the root allows", want: custom.ChainRefused, input: func(m maker) custom.Input {
			root := m.root("root", func(r *recipe) { r.MaxPathLen, r.MaxPathLenZero = 0, true })
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "an unknown critical extension", want: custom.ChainRefused, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, func(r *recipe) {
				r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
			})), root)
		}},
		{name: "the issuer is no CA", want: custom.NotCA, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing", func(r *recipe) { r.IsCA, r.MaxPathLen, r.KeyUsage = false, 0, x509.KeyUsageDigitalSignature })
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "the issuer may not sign certificates", want: custom.NotCA, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing", usable(x509.KeyUsageCRLSign))
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "an authority without key usage, as openssl req -x509 makes it", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root", usable(0))
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "an authority whose basic constraints are not critical", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root", after(uncritical(idBasicConstraints)))
			return secret(chain(m.leaf(root)), root)
		}},
	}
}

func algorithmCases() []sketch {
	return []sketch{
		{name: "RSA 1024", want: custom.AlgorithmUnsupported, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, withKey(pkitest.RSAKey(1024)))), root)
		}},
		{name: "an authority of RSA 1024", want: custom.AlgorithmUnsupported, input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(1024)))
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "signed with SHA-1", want: custom.AlgorithmUnsupported, input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(2048)))
			return secret(chain(m.leaf(root, sha1WithRSA)), root)
		}},
		{name: "an issuer that is signed with SHA-1", want: custom.AlgorithmUnsupported, input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.RSAKey(2048)))
			issuing := m.under(root, "issuing", sha1WithRSA)
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "ECDSA P-224", want: custom.AlgorithmUnsupported, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, withKey(pkitest.ECKeyOn(elliptic.P224())))), root)
		}},
	}
}
