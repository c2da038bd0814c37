package corpus

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"unicode/utf16"

	"crypto/rand"

	"pgtls.dev/pgtls/internal/custom"
)

const (
	crt = custom.CertificateFile
	key = custom.KeyFile
	ca  = custom.AuthorityFile
)

// textCases are damages of the files themselves. Programs differ in what they read.
func textCases(role custom.Role) []sketch {
	list := append(fileCases(), itemsCases()...)
	if role == custom.Replication {
		// PostgreSQL's ssl_ca_file may not hold it, libpq's sslrootcert may.
		return append(list, trustedCase(""))
	}
	return append(list, trustedCase("only OpenSSL reads it"), sketch{name: "tls.key is DER", want: custom.NotPEM, input: spoilt(key, der)})
}

func trustedCase(strict string) sketch {
	return sketch{name: "ca.crt holds a TRUSTED CERTIFICATE", want: custom.UnexpectedBlock, strict: strict, input: func(m maker) custom.Input {
		root := m.root("root")
		in := secret(chain(m.leaf(root)), root)
		in.Data[ca] = block("TRUSTED CERTIFICATE", root.Raw)
		return in
	}}
}

func fileCases() []sketch {
	return []sketch{
		{name: "tls.crt is missing", want: custom.NoCertificate, input: without(crt)},
		{name: "tls.key is missing", want: custom.KeyMissing, input: without(key)},
		{name: "ca.crt is missing and nothing else leads anywhere", want: custom.UnknownAuthority, input: without(ca)},
		{name: "tls.crt is empty", want: custom.NoCertificate, input: spoilt(crt, replaced(""))},
		{name: "tls.key is empty", want: custom.KeyMissing, input: spoilt(key, replaced("\n"))},
		{name: "ca.crt holds other text", want: custom.NotPEM, input: spoilt(ca, replaced("404 page not found\n"))},
		{name: "tls.crt is DER", want: custom.NotPEM, input: spoilt(crt, der)},
		{name: "ca.crt is DER", want: custom.NotPEM, input: spoilt(ca, der)},
		{name: "tls.crt is UTF-16", want: custom.NotPEM, input: spoilt(crt, utf16LE)},
		{name: "tls.crt is indented", want: custom.NotPEM, input: spoilt(crt, indented)},
		{name: "ca.crt is indented", want: custom.NotPEM, input: spoilt(ca, indented)},
		{name: "tls.crt is cut", want: custom.NotPEM, input: spoilt(crt, half)},
		{name: "tls.key is cut", want: custom.NotPEM, input: spoilt(key, half)},
		{name: "ca.crt is cut", want: custom.NotPEM, input: spoilt(ca, half)},
		{name: "tls.crt is base64 of base64", want: custom.NotPEM, input: spoilt(crt, base64Again)},
		{name: "tls.crt has lost its line ends", want: custom.NotPEM, input: spoilt(crt, joined(" "))},
		{name: "tls.key has line ends as backslash and n", want: custom.NotPEM, input: spoilt(key, joined(`\n`))},
		{name: "tls.crt holds a block of nonsense", want: custom.CertificateMalformed, input: spoilt(crt, nonsense("CERTIFICATE"))},
		{name: "ca.crt holds a block of nonsense", want: custom.CertificateMalformed, input: spoilt(ca, nonsense("CERTIFICATE"))},
		{name: "tls.key holds a block of nonsense", want: custom.KeyMalformed, input: spoilt(key, nonsense("PRIVATE KEY"))},
		{name: "tls.key is encrypted, PKCS#8", want: custom.KeyEncrypted, input: spoilt(key, encryptedPKCS8)},
		{name: "tls.key is encrypted, traditional", want: custom.KeyEncrypted, input: spoilt(key, encryptedTraditional)},
		{name: "tls.key is another certificate's", want: custom.KeyMismatch, input: func(m maker) custom.Input {
			in, other := m.good(), m.good()
			in.Data[key] = other.Data[key]
			return in
		}},
		{name: "tls.key is the authority's", want: custom.KeyMismatch, input: func(m maker) custom.Input {
			root := m.root("root")
			return files(pemOf(m.leaf(root)), pkcs8(root.key), pemOf(root))
		}},
		{name: "tls.crt and tls.key are swapped", want: custom.NoCertificate, input: func(m maker) custom.Input {
			in := m.good()
			in.Data[crt], in.Data[key] = in.Data[key], in.Data[crt]
			return in
		}},
		{name: "tls.crt and ca.crt are swapped", want: custom.KeyMismatch, input: func(m maker) custom.Input {
			in := m.good()
			in.Data[crt], in.Data[ca] = in.Data[ca], in.Data[crt]
			return in
		}},
		{name: "tls.key holds the certificate", want: custom.KeyMissing, input: func(m maker) custom.Input {
			in := m.good()
			in.Data[key] = in.Data[crt]
			return in
		}},
		{name: "tls.key holds the public key", want: custom.KeyMissing, input: func(m maker) custom.Input {
			root := m.root("root")
			leaf := m.leaf(root)
			return files(pemOf(leaf), block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(leaf.key.Public()))), pemOf(root))
		}},
		{name: "tls.crt holds the request", want: custom.NoCertificate, input: func(m maker) custom.Input {
			root := m.root("root")
			leaf := m.leaf(root)
			request := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "request"}}, leaf.key))
			return files(block("CERTIFICATE REQUEST", request), pkcs8(leaf.key), pemOf(root))
		}},
		{name: "the issuer in tls.crt is cut", want: custom.NotPEM, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			in := secret(chain(m.leaf(issuing), issuing), root)
			in.Data[crt] = in.Data[crt][:len(in.Data[crt])-40]
			return in
		}},
		{name: "blocks in tls.crt follow each other on one line", want: custom.NotPEM, input: func(m maker) custom.Input {
			root := m.root("root")
			issuing := m.under(root, "issuing")
			leaf := m.leaf(issuing)
			return files(append(bytes.TrimSpace(pemOf(leaf)), pemOf(issuing)...), pkcs8(leaf.key), pemOf(root))
		}},
		{name: "ca.crt holds 101 authorities", warns: reasons(custom.TooLarge), input: func(m maker) custom.Input {
			root := m.root("root")
			anchors := chain(root)
			for range 100 {
				anchors = append(anchors, m.root("another"))
			}
			return secret(chain(m.leaf(root)), anchors...)
		}},
	}
}

// itemsCases are projections that do not give the three files.
func itemsCases() []sketch {
	mapped := func(items ...custom.Item) func(maker) custom.Input {
		return func(m maker) custom.Input {
			in := m.good()
			in.Data = map[string][]byte{"cert": in.Data[crt], "key": in.Data[key], "ca": in.Data[ca]}
			in.Items = items
			return in
		}
	}
	return []sketch{
		{name: "other keys and no items", want: custom.NoCertificate, input: mapped()},
		{name: "items name a key that is not there", want: custom.ItemsMalformed,
			input: mapped(custom.Item{Key: "certificate", Path: crt}, custom.Item{Key: "key", Path: key}, custom.Item{Key: "ca", Path: ca})},
		{name: "items give a path that nothing reads", want: custom.ItemsMalformed,
			input: mapped(custom.Item{Key: "cert", Path: "server.crt"}, custom.Item{Key: "key", Path: key}, custom.Item{Key: "ca", Path: ca})},
		{name: "items give a path twice", want: custom.ItemsMalformed,
			input: mapped(custom.Item{Key: "cert", Path: crt}, custom.Item{Key: "key", Path: key}, custom.Item{Key: "ca", Path: ca}, custom.Item{Key: "ca", Path: crt})},
		{name: "items leave the key out", want: custom.KeyMissing,
			input: mapped(custom.Item{Key: "cert", Path: crt}, custom.Item{Key: "ca", Path: ca})},
		{name: "items swap certificate and key", want: custom.NoCertificate,
			input: mapped(custom.Item{Key: "cert", Path: key}, custom.Item{Key: "key", Path: crt}, custom.Item{Key: "ca", Path: ca})},
		{name: "items map every key", input: mapped(custom.Item{Key: "cert", Path: crt}, custom.Item{Key: "key", Path: key}, custom.Item{Key: "ca", Path: ca})},
	}
}

func replaced(text string) func([]byte) []byte {
	return func([]byte) []byte { return []byte(text) }
}

func der(text []byte) []byte { return decode(text) }

func utf16LE(text []byte) []byte {
	out := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(string(text))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}

func byteOrderMark(text []byte) []byte { return append([]byte("\ufeff"), text...) }

func indented(text []byte) []byte {
	return append([]byte("  "), bytes.ReplaceAll(text, []byte("\n"), []byte("\n  "))...)
}

func half(text []byte) []byte { return text[:len(text)/2] }

func base64Again(text []byte) []byte {
	return []byte(base64.StdEncoding.EncodeToString(text))
}

func joined(with string) func([]byte) []byte {
	return func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte(with)) }
}

func nonsense(kind string) func([]byte) []byte {
	return func([]byte) []byte { return block(kind, bytes.Repeat([]byte("nonsense"), 30)) }
}
