package corpus

import (
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/custom"
)

// What a leaf lacks that "openssl x509 -req" made before OpenSSL 3.2, with an extension file for the names alone.
var bare = []edit{after(dropExtension(idAuthorityKey)), after(dropExtension(idSubjectKey)), usable(0), purposes(), func(r *recipe) { r.BasicConstraintsValid = false }}

// blind takes both key identifiers away.
var blind = []edit{after(dropExtension(idAuthorityKey)), after(dropExtension(idSubjectKey))}

// handMadeCases are what scripts make with plain openssl commands. They work with OpenSSL's default flags, and a verifier that
// looks closer refuses them.
func handMadeCases() []sketch {
	strict := reasons(custom.StrictVerifiersRefuse)
	return []sketch{
		{name: "openssl req -x509, and x509 -req before 3.2", warns: strict, input: func(m maker) custom.Input {
			root := m.root("root", usable(0))
			return secret(chain(m.leaf(root, bare...)), root)
		}},
		{name: "an authority of version 1", warns: strict, input: func(m maker) custom.Input {
			root := m.root("root", after(versionOne))
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "no key identifier anywhere in a chain of three", warns: strict, input: func(m maker) custom.Input {
			root := m.root("root", slices.Concat(blind, []edit{usable(0)})...)
			issuing := m.under(root, "issuing", slices.Concat(blind, []edit{usable(0)})...)
			return secret(chain(m.leaf(issuing, bare...), issuing), root)
		}},
		{name: "no key identifiers, and the issuer stands in ca.crt beside the root", warns: reasons(custom.ChainRearranged, custom.NotSelfSigned, custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			return secret(chain(m.leaf(issuing, bare...)), issuing, root)
		}},
		{name: "no key identifiers, and the authority was renewed with its key", warns: strict, input: func(m maker) custom.Input {
			root := m.root("root", blind...)
			renewed := m.root("root", slices.Concat(blind, []edit{withKey(root.key)})...)
			return secret(chain(m.leaf(root, bare...)), renewed, root)
		}},
		{name: "a hand-made authority that did not issue it besides", input: func(m maker) custom.Input {
			root := m.root("root")
			return secret(chain(m.leaf(root)), m.root("another", slices.Concat(blind, []edit{usable(0)})...), root)
		}},
		{name: "no key identifiers, and two authorities of the issuer's name", want: custom.KeyIdentifierMissing, input: func(m maker) custom.Input {
			root := m.root("root", blind...)
			again := m.root("root", slices.Concat(blind, []edit{ending(m.now.Add(5000 * day))})...)
			return secret(chain(m.leaf(root, bare...)), again, root)
		}},
		{name: "no key identifiers, and the authority was made anew under the same name", want: custom.SignatureInvalid, input: func(m maker) custom.Input {
			root := m.root("root", blind...)
			return secret(chain(m.leaf(root, bare...)), m.root("root", blind...))
		}},
	}
}

// handMadeServerCases are such certificates with the host in the common name alone.
func handMadeServerCases() []sketch {
	warns := reasons(custom.NameMissing, custom.StrictVerifiersRefuse)
	return []sketch{
		{name: "as in PostgreSQL's documentation, with openssl before 3.2", warns: warns, input: func(m maker) custom.Input {
			m.hosts = m.hosts[:1]
			root := m.root("root", usable(0))
			in := secret(chain(m.leaf(root, called(m.hosts[0]), after(versionOne))), root)
			in.Names = m.hosts
			return in
		}},
		{name: "a wildcard in the common name alone", warns: warns, input: func(m maker) custom.Input {
			root := m.root("root", usable(0))
			_, rest, _ := strings.Cut(m.hosts[0], ".")
			return secret(chain(m.leaf(root, append(slices.Clone(bare), called("*."+rest), named())...)), root)
		}},
		{name: "the authority may issue for these hosts, not critical", warns: reasons(custom.StrictVerifiersRefuse), input: func(m maker) custom.Input {
			_, rest, _ := strings.Cut(m.hosts[0], ".")
			root := m.root("root", func(r *recipe) { r.PermittedDNSDomains = []string{rest} })
			return secret(chain(m.leaf(root)), root)
		}},
		{name: "the authority may not issue for these hosts, not critical", want: custom.ChainRefused, input: func(m maker) custom.Input {
			root := m.root("root", func(r *recipe) { r.PermittedDNSDomains = []string{"example.com"} })
			return secret(chain(m.leaf(root)), root)
		}},
	}
}
