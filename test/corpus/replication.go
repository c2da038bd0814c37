package corpus

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// replicationCases are about what standbys present.
func replicationCases() []sketch {
	list := append(replicationWrongCases(), replicationRightCases()...)
	list = append(list, chainCases()...)
	list = append(list, keyKindCases()...)
	return append(list, textCases(custom.Replication)...)
}

func replicationWrongCases() []sketch {
	with := func(edits ...edit) func(maker) custom.Input {
		return func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, edits...)), root)
		}
	}
	return []sketch{
		{name: "another common name", want: custom.IdentityMismatch, input: with(called("hippo-primary"))},
		{name: "another case", want: custom.IdentityMismatch, input: with(called("_PGTLSREPL"))},
		{name: "no common name", want: custom.IdentityMismatch, input: with(called(""), named("_pgtlsrepl"), func(r *recipe) { r.Subject.Organization = []string{"Example"} })},
		{name: "two common names, the wrong one first", want: custom.IdentityMismatch, input: with(func(r *recipe) {
			r.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{commonNamed("postgres"), commonNamed("_pgtlsrepl")}}
		})},
		{name: "for servers", want: custom.UsageMissing, input: with(purposes(x509.ExtKeyUsageServerAuth))},
		{name: "the issuer may issue for servers only", want: custom.UsageMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing", purposes(x509.ExtKeyUsageServerAuth))
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "a key that may agree and not sign", warns: reasons(custom.StrictVerifiersRefuse), input: with(usable(x509.KeyUsageKeyAgreement))},
		{name: "version 1, as in PostgreSQL's documentation with openssl before 3.2", warns: reasons(custom.StrictVerifiersRefuse), input: with(after(versionOne))},
		{name: "Ed25519 for any purpose", input: with(withKey(pkitest.Ed25519Key()), purposes())},
	}
}

func commonNamed(name string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}
}

func replicationRightCases() []sketch {
	with := func(edits ...edit) func(maker) custom.Input {
		return func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, edits...)), root)
		}
	}
	return []sketch{
		{name: "PGO's common name", input: with(called("_crunchyrepl"))},
		{name: "cert-manager, as in PGO's example", input: func(m maker) custom.Input {
			root := m.root("postgres-operator", usable(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment|x509.KeyUsageCertSign))
			leaf := m.leaf(root, called("_crunchyrepl"), named("_crunchyrepl"), purposes(), usable(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment), after(dropExtension(idSubjectKey)))
			return files(pemOf(leaf), traditional(leaf.key), pemOf(root))
		}},
		{name: "two common names, the right one first", input: with(func(r *recipe) {
			r.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{commonNamed("_pgtlsrepl"), commonNamed("postgres")}}
		})},
		{name: "for servers and clients", input: with(purposes(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))},
		{name: "no purposes", input: with(purposes())},
		{name: "Ed25519 for clients", input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.Ed25519Key()))
			return secret(chain(m.leaf(root, withKey(pkitest.Ed25519Key()))), root)
		}},
		{name: "byte order marks", input: func(m maker) custom.Input {
			in := m.good()
			for name, text := range in.Data {
				in.Data[name] = byteOrderMark(text)
			}
			return in
		}},
		{name: "tls.key is DER, PKCS#8", input: spoilt(key, der)},
		{name: "tls.key is DER, SEC 1", input: spoilt(key, func(text []byte) []byte {
			return decode(traditional(must(x509.ParsePKCS8PrivateKey(decode(text))).(crypto.Signer)))
		})},
		{name: "tls.key is DER, PKCS#1", input: func(m maker) custom.Input {
			root := m.root("root")
			return files(pemOf(m.leaf(root, withKey(pkitest.RSAKey(2048)))), decode(traditional(pkitest.RSAKey(2048))), pemOf(root))
		}},
		{name: "with an issuer", input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "the CA of both stands in the server's Secret", input: func(m maker) custom.Input {
			root := m.root("root")
			in := secret(chain(m.leaf(root)))
			delete(in.Data, ca)
			in.PeerTrust = certificates(root)
			return in
		}},
		{name: "each Secret holds the CA of the other", input: func(m maker) custom.Input {
			root := m.root("clients' root")
			in := secret(chain(m.leaf(root)), m.root("servers' root"))
			in.PeerTrust = certificates(root)
			return in
		}},
		{name: "the server's Secret does not accept it", warns: reasons(custom.PeerUntrusted), input: func(m maker) custom.Input {
			root := m.root("clients' root")
			in := secret(chain(m.leaf(root)), root)
			in.PeerTrust = certificates(m.root("servers' root"))
			return in
		}},
		{name: "ends soon", warns: reasons(custom.ExpiresSoon), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, starting(m.now.Add(-28*day)), ending(m.now.Add(2*day)))), root)
		}},
	}
}
