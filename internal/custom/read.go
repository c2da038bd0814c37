package custom

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"slices"

	"pgtls.dev/pgtls/internal/pki"
)

// readCertificates returns all certificates of a file, or none and a refusal.
func (r *report) readCertificates(f file, most int) []*x509.Certificate {
	t, err := split(f.text)
	if err != nil {
		r.addError(Refuse, f.key, err)
		return nil
	}
	var certificates []*x509.Certificate
	for _, block := range t.blocks {
		if block.Type != certificateBlock {
			r.reportForeign(f.key, block)
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			r.refuse(CertificateMalformed, f.key, "replace it by a whole certificate", "certificate %d cannot be read (%v)", len(certificates)+1, err)
			return nil
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) > most {
		r.refuse(TooLarge, f.key, "keep what is needed", "it holds %d certificates, more than %d", len(certificates), most)
		return nil
	}
	r.reportGarbage(f.key, t)
	return certificates
}

// reportForeign: OpenSSL passes over a block of another kind, and so does this.
func (r *report) reportForeign(key string, block *pem.Block) {
	switch {
	case isKey(block):
		r.warn(UnexpectedBlock, key, "keep keys in tls.key alone, and replace this one if other users could read it", "there is a private key among the certificates, which is left out")
	case block.Type == "TRUSTED CERTIFICATE" || block.Type == "X509 CERTIFICATE":
		r.refuse(UnexpectedBlock, key, "convert it: openssl x509 -in OLD -out NEW", "there is a %q, which only OpenSSL reads", block.Type)
	default:
		r.warn(UnexpectedBlock, key, "remove it", "there is a %q among the certificates, which is left out", block.Type)
	}
}

func (r *report) reportGarbage(key string, t text) {
	if t.garbage {
		r.warn(TrailingGarbage, key, "see whether something is cut off", "there are bytes outside the blocks that are no comment, which are left out")
	}
}

func (r *report) readChain(f file) []*x509.Certificate {
	if !f.present {
		r.refuse(NoCertificate, f.key, "add the certificate, with its issuers after it", "it is missing")
		return nil
	}
	before := len(r.findings)
	chain := r.readCertificates(f, pki.MaxCertificates)
	if len(chain) == 0 && !r.refusedSince(before) {
		r.refuse(NoCertificate, f.key, "put the certificate there, with its issuers after it", "it holds no certificate")
	}
	return chain
}

func (r *report) refusedSince(n int) bool {
	return slices.ContainsFunc(r.findings[n:], func(f Finding) bool { return f.Severity == Refuse })
}

// readPair reads the key and compares it with the first certificate.
func (r *report) readPair(role Role, chain []*x509.Certificate, key, certificate file) *pki.KeyPair {
	if role == Replication {
		key.text = derAsPEM(key.text)
	}
	block := r.readKey(key)
	if block == nil || len(chain) == 0 {
		return nil
	}
	pair, err := pki.ParseKeyPair(pki.EncodeBundle(chain), pem.EncodeToMemory(block))
	if reason := pki.ReasonOf(err); (reason == "" || reason == pki.IsCA) && selfSigned(chain[0]) {
		r.refuse(SelfSigned, certificate.key, "have an authority issue it, so that it can be renewed under the same anchor", "it has signed itself (%s)", chain[0].Subject)
		return nil
	}
	if err == nil {
		pair.Chain = unique(pair.Chain)
		return pair
	}
	at := certificate.key
	if reason := pki.ReasonOf(err); reason == pki.KeyMalformed || reason == pki.KeyEncrypted || reason == pki.KeyMismatch {
		at = key.key
	}
	r.addError(Refuse, at, err)
	return nil
}

// derAsPEM: libpq, unlike a server, reads a client's key in DER too, and then nothing behind it.
func derAsPEM(text []byte) []byte {
	var element asn1.RawValue
	if _, err := asn1.Unmarshal(text, &element); err != nil {
		return text
	}
	kind := ""
	if _, err := x509.ParsePKCS8PrivateKey(element.FullBytes); err == nil {
		kind = "PRIVATE KEY"
	} else if _, err := x509.ParseECPrivateKey(element.FullBytes); err == nil {
		kind = "EC PRIVATE KEY"
	} else if _, err := x509.ParsePKCS1PrivateKey(element.FullBytes); err == nil {
		kind = "RSA PRIVATE KEY"
	} else {
		return text
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: element.FullBytes})
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// readKey returns the first private key. OpenSSL reads no further than that, so damage behind it does not matter.
func (r *report) readKey(f file) *pem.Block {
	if !f.present {
		r.refuse(KeyMissing, f.key, "add the private key of the certificate", "it is missing")
		return nil
	}
	t, err := split(f.text)
	first := slices.IndexFunc(t.blocks, isKey)
	if first < 0 && err != nil {
		r.addError(Refuse, f.key, err)
		return nil
	}
	if first < 0 {
		r.refuse(KeyMissing, f.key, "put the private key of the certificate there, unencrypted", "it holds no private key")
		return nil
	}
	if slices.ContainsFunc(t.blocks, func(b *pem.Block) bool { return b.Type == certificateBlock || b != t.blocks[first] && isKey(b) }) {
		r.warn(UnexpectedBlock, f.key, "keep one private key there", "there is more than a private key: all but the first key is left out")
	}
	if err != nil {
		t.garbage = true
	}
	r.reportGarbage(f.key, t)
	return t.blocks[first]
}

// unique keeps the first of equal certificates.
func unique(certificates []*x509.Certificate) []*x509.Certificate {
	var once []*x509.Certificate
	for _, c := range certificates {
		if !slices.ContainsFunc(once, c.Equal) {
			once = append(once, c)
		}
	}
	return once
}
