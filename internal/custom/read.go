package custom

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"slices"

	"pgtls.dev/pgtls/internal/pki"
)

// certificates returns all certificates of a file, or none and a refusal.
func (f file) certificates(most int) []*x509.Certificate {
	t, err := split(f.text)
	if err != nil {
		f.addError(Refuse, err)
		return nil
	}
	var certificates []*x509.Certificate
	for _, block := range t.blocks {
		if block.Type != certificateBlock {
			f.reportForeign(block)
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			f.refuse(CertificateMalformed, "replace it by a whole certificate", "certificate %d cannot be read (%v)", len(certificates)+1, err)
			return nil
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) > most {
		f.refuse(TooLarge, "keep what is needed", "it holds %d certificates, more than %d", len(certificates), most)
		return nil
	}
	f.reportGarbage(t)
	return certificates
}

// reportForeign: OpenSSL passes over a block of another kind, and so does this.
func (p place) reportForeign(block *pem.Block) {
	switch {
	case isKey(block):
		p.warn(UnexpectedBlock, "keep keys in tls.key alone, and replace this one if other users could read it", "there is a private key among the certificates, which is left out")
	case block.Type == "TRUSTED CERTIFICATE" || block.Type == "X509 CERTIFICATE":
		p.refuse(UnexpectedBlock, "convert it: openssl x509 -in OLD -out NEW", "there is a %q, which only OpenSSL reads", block.Type)
	default:
		p.warn(UnexpectedBlock, "remove it", "there is a %q among the certificates, which is left out", block.Type)
	}
}

func (p place) reportGarbage(t text) {
	if t.garbage {
		p.warn(TrailingGarbage, "see whether something is cut off", "there are bytes outside the blocks that are no comment, which are left out")
	}
}

// chain returns the certificates of tls.crt.
func (f file) chain() []*x509.Certificate {
	if !f.present {
		f.refuse(NoCertificate, "add the certificate, with its issuers after it", "it is missing")
		return nil
	}
	before := len(f.report.findings)
	chain := f.certificates(pki.MaxCertificates)
	if len(chain) == 0 && !f.report.refusedSince(before) {
		f.refuse(NoCertificate, "put the certificate there, with its issuers after it", "it holds no certificate")
	}
	return chain
}

// readPair reads the key and compares it with the first certificate.
func readPair(role Role, chain []*x509.Certificate, key, certificate file) *pki.KeyPair {
	if role == Replication {
		key.text = derAsPEM(key.text)
	}
	block := key.privateKey()
	if block == nil || len(chain) == 0 {
		return nil
	}
	pair, err := pki.ParseKeyPair(pki.EncodeBundle(chain), pem.EncodeToMemory(block))
	if reason := pki.ReasonOf(err); (reason == "" || reason == pki.IsCA) && selfSigned(chain[0]) {
		certificate.refuse(SelfSigned, "have an authority issue it, so that it can be renewed under the same anchor", "it has signed itself (%s)", chain[0].Subject)
		return nil
	}
	if err == nil {
		pair.Chain = unique(pair.Chain)
		return pair
	}
	at := certificate
	if reason := pki.ReasonOf(err); reason == pki.KeyMalformed || reason == pki.KeyEncrypted || reason == pki.KeyMismatch {
		at = key
	}
	at.addError(Refuse, err)
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

// privateKey returns the first private key. OpenSSL reads no further than that, so damage behind it does not matter.
func (f file) privateKey() *pem.Block {
	if !f.present {
		f.refuse(KeyMissing, "add the private key of the certificate", "it is missing")
		return nil
	}
	t, err := split(f.text)
	first := slices.IndexFunc(t.blocks, isKey)
	if first < 0 && err != nil {
		f.addError(Refuse, err)
		return nil
	}
	if first < 0 {
		f.refuse(KeyMissing, "put the private key of the certificate there, unencrypted", "it holds no private key")
		return nil
	}
	if slices.ContainsFunc(t.blocks, func(b *pem.Block) bool { return b.Type == certificateBlock || b != t.blocks[first] && isKey(b) }) {
		f.warn(UnexpectedBlock, "keep one private key there", "there is more than a private key: all but the first key is left out")
	}
	if err != nil {
		t.garbage = true
	}
	f.reportGarbage(t)
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
