package corpus

import (
	"crypto/x509"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// serverCases are wrong for servers only: names, purposes, and what breaks SCRAM.
func serverCases(role custom.Role) []sketch {
	return slices.Concat(nameCases(), purposeCases(), ed25519Cases(role), handMadeServerCases())
}

func nameCases() []sketch {
	withNames := func(names func(hosts []string) []string) func(maker) custom.Input {
		return func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, named(names(m.hosts)...))), root)
		}
	}
	return []sketch{
		{name: "for another host", want: custom.NameMissing, input: withNames(func([]string) []string { return []string{"db.example.com"} })},
		{name: "for one host of several", want: custom.NameMissing, input: withNames(func(hosts []string) []string { return hosts[:1] })},
		{name: "for the first labels only", want: custom.NameMissing, input: withNames(func(hosts []string) []string {
			return replacedEach(hosts, func(h string) string { label, _, _ := strings.Cut(h, "."); return label })
		})},
		{name: "a wildcard within the first label", want: custom.NameMissing, input: withNames(func(hosts []string) []string {
			return replacedEach(hosts, func(h string) string { return h[:1] + "*" + h[strings.IndexByte(h, '.'):] })
		})},
		{name: "a wildcard for two labels", want: custom.NameMissing, input: withNames(func(hosts []string) []string {
			_, rest, _ := strings.Cut(hosts[0], ".")
			_, rest, _ = strings.Cut(rest, ".")
			return []string{"*." + rest}
		})},
		{name: "names with a dot at the end", want: custom.NameMissing, input: withNames(func(hosts []string) []string {
			return replacedEach(hosts, func(h string) string { return h + "." })
		})},
		{name: "the host in the common name, others as alternative names", want: custom.NameMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, called(m.hosts[0]), named("db.example.com"))), root)
		}},
		{name: "the address is missing", want: custom.NameMissing, input: func(m maker) custom.Input {
			in := m.good()
			in.Names = append(slices.Clone(m.hosts), "192.0.2.7")
			return in
		}},
		{name: "no name at all", want: custom.NameMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, called("database"), named())), root)
		}},
		{name: "the host in the common name alone", want: custom.NameMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, called(m.hosts[0]), named())), root)
		}},
		{name: "the only host in the common name alone, as in PGO's examples", warns: reasons(custom.NameMissing), input: func(m maker) custom.Input {
			m.hosts = m.hosts[:1]
			root := m.root("root")
			in := secret(chain(m.leaf(root, called(m.hosts[0]), named())), root)
			in.Names = m.hosts
			return in
		}},
		{name: "the authority may not issue for these hosts", want: custom.ChainRefused, input: func(m maker) custom.Input {
			root := m.root("root", func(r *recipe) { r.PermittedDNSDomains, r.PermittedDNSDomainsCritical = []string{"example.com"}, true })
			return secret(chain(m.leaf(root)), root)
		}},
	}
}

func replacedEach(hosts []string, f func(string) string) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, f(h))
	}
	return out
}

func purposeCases() []sketch {
	return []sketch{
		{name: "for clients", want: custom.UsageMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, purposes(x509.ExtKeyUsageClientAuth))), root)
		}},
		{name: "for signing code", want: custom.UsageMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, purposes(x509.ExtKeyUsageCodeSigning))), root)
		}},
		{name: "the issuer may issue for clients only", want: custom.UsageMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing", purposes(x509.ExtKeyUsageClientAuth))
			return secret(chain(m.leaf(issuing), issuing), root)
		}},
		{name: "an RSA key that may encipher and not sign", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, withKey(pkitest.RSAKey(2048)), usable(x509.KeyUsageKeyEncipherment))), root)
		}},
		{name: "an ECDSA key that may agree and not sign", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root, usable(x509.KeyUsageKeyAgreement))), root)
		}},
	}
}

func ed25519Cases(role custom.Role) []sketch {
	strict := ""
	if role == custom.Pooler {
		strict = "PgBouncer has no channel binding; a PgBouncer that has it, and a PostgreSQL that presents it, refuse every login"
	}
	return []sketch{
		{name: "Ed25519, signed with Ed25519", want: custom.AlgorithmUnsupported, strict: strict, input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.Ed25519Key()))
			return secret(chain(m.leaf(root, withKey(pkitest.Ed25519Key()))), root)
		}},
		{name: "ECDSA, signed with Ed25519", want: custom.AlgorithmUnsupported, strict: strict, input: func(m maker) custom.Input {
			root := m.root("root", withKey(pkitest.Ed25519Key()))
			return secret(chain(m.leaf(root)), root)
		}},
	}
}
