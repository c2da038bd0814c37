package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// The kinds of PEM block that are read. Only the first and the third are ever written.
const (
	certificateBlock  = "CERTIFICATE"
	ecParametersBlock = "EC PARAMETERS" // openssl ecparam writes one before the key
	pkcs8Block        = "PRIVATE KEY"
	pkcs8Encrypted    = "ENCRYPTED PRIVATE KEY"
	ecBlock           = "EC PRIVATE KEY"
	pkcs1Block        = "RSA PRIVATE KEY"
)

// ParseAuthority reads one self-signed CA certificate and its key.
//
// Errors: those of the text, KeyMismatch, NotCA, NotSelfSigned, KeyIdentifierMissing, AlgorithmUnsupported.
func ParseAuthority(certificatePEM, keyPEM []byte) (*Authority, error) {
	certificates, err := parseCertificates(certificatePEM)
	if err != nil {
		return nil, err
	}
	if n := len(certificates); n != 1 {
		return nil, refuse(UnexpectedBlock, "leave the authority's own certificate alone", "there are %d certificates for one authority", n)
	}
	certificate := certificates[0]
	if err := checkAnchor("the authority", certificate); err != nil {
		return nil, err
	}
	if faults := strictFaults("the authority", certificate); len(faults) > 0 {
		return nil, faults[0]
	}
	if certificate.PublicKeyAlgorithm == x509.Ed25519 {
		return nil, refuseEd25519("the authority would sign with Ed25519")
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !sameKey(certificate, key) {
		return nil, refuse(KeyMismatch, "give the key that belongs to the certificate", "the key is not the authority's")
	}
	return &Authority{Certificate: certificate, Key: key}, nil
}

// ParseKeyPair reads a leaf, first in its chain, and its key. It does not verify the chain: that depends on
// which verifier looks at it and when, see Verify.
//
// Errors: those of the text, IsCA, KeyMismatch, AlgorithmUnsupported.
func ParseKeyPair(chainPEM, keyPEM []byte) (*KeyPair, error) {
	chain, err := parseCertificates(chainPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if err := checkPair(chain, key); err != nil {
		return nil, err
	}
	return &KeyPair{Chain: chain, Key: key}, nil
}

// checkPair looks at the key first: with the chain in the wrong order, that tells more than IsCA.
func checkPair(chain []*x509.Certificate, key crypto.Signer) error {
	if !sameKey(chain[0], key) {
		for i, c := range chain[1:] {
			if sameKey(c, key) {
				return refuse(KeyMismatch, "put the leaf first and its issuers after it", "the key belongs to certificate %d of the chain, not to the first", i+2)
			}
		}
		return refuse(KeyMismatch, "give the key that belongs to the certificate", "the key belongs to none of the chain's certificates")
	}
	if isCA(chain[0]) {
		return refuse(IsCA, "use a certificate that is no CA", "the first certificate of the chain is a CA")
	}
	return checkLeafAlgorithm(chain[0])
}

func checkLeafAlgorithm(leaf *x509.Certificate) error {
	if err := checkKeyAlgorithm("the leaf", leaf.PublicKey); err != nil {
		return err
	}
	if usageOf(leaf) == ServerAuth { // what may be a client's too is judged as what it is presented: see Verify
		return checkServerAlgorithm(leaf)
	}
	return nil
}

// ParseBundle reads trust anchors, in the order of the text. Whether they are self-signed is for Verify to say.
//
// Errors: those of the text, NotCA.
func ParseBundle(text []byte) ([]*x509.Certificate, error) {
	certificates, err := parseCertificates(text)
	if err != nil {
		return nil, err
	}
	for i, c := range certificates {
		what := fmt.Sprintf("certificate %d of the bundle (%s)", i+1, c.Subject)
		if err := checkSigner(what, c, "leave only CA certificates in the bundle"); err != nil {
			return nil, err
		}
	}
	return certificates, nil
}

// parseCertificates reads one certificate or more, and nothing else: a key in a bundle would be published.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	const remedy = "give one or more PEM blocks of the kind CERTIFICATE"
	blocks, err := decodeBlocks(text)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, refuse(NoCertificate, remedy, "there is no certificate")
	}
	if len(blocks) > MaxCertificates {
		return nil, refuse(TooLarge, "keep what is needed", "there are %d certificates, more than %d", len(blocks), MaxCertificates)
	}
	certificates := make([]*x509.Certificate, 0, len(blocks))
	for i, block := range blocks {
		if block.Type != certificateBlock || len(block.Headers) > 0 {
			return nil, refuse(UnexpectedBlock, remedy, "block %d is a %q with %d headers", i+1, block.Type, len(block.Headers))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, refuse(CertificateMalformed, "replace it by a whole certificate", "certificate %d cannot be read (%v)", i+1, err)
		}
		certificates = append(certificates, certificate)
	}
	return certificates, nil
}

// parseKey reads exactly one private key, in PKCS#8, SEC 1 or PKCS#1.
func parseKey(text []byte) (crypto.Signer, error) {
	const remedy = "give one unencrypted PEM block of the kind PRIVATE KEY"
	blocks, err := decodeBlocks(text)
	if err != nil {
		return nil, err
	}
	if len(blocks) > 0 && blocks[0].Type == ecParametersBlock {
		blocks = blocks[1:]
	}
	if len(blocks) == 0 {
		return nil, refuse(KeyMissing, remedy, "there is no private key")
	}
	if len(blocks) > 1 {
		return nil, refuse(UnexpectedBlock, remedy, "there are %d blocks where one private key belongs", len(blocks))
	}
	key, err := parseKeyBlock(blocks[0], remedy)
	if err != nil {
		return nil, err
	}
	return key, checkKeyAlgorithm("the private key", key.Public())
}

func parseKeyBlock(block *pem.Block, remedy string) (crypto.Signer, error) {
	if block.Type == pkcs8Encrypted || block.Headers["DEK-Info"] != "" {
		return nil, refuse(KeyEncrypted, "decrypt it with: openssl pkey -in KEY -out PLAINKEY", "the private key is under a passphrase")
	}
	var key any
	var err error
	switch block.Type {
	case pkcs8Block:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case ecBlock:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case pkcs1Block:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, refuse(KeyMissing, remedy, "there is a %q where the private key belongs", block.Type)
	}
	if err != nil {
		return nil, refuse(KeyMalformed, remedy, "the private key cannot be read (%v)", err)
	}
	if signer, ok := key.(crypto.Signer); ok {
		return signer, nil
	}
	return nil, refuse(AlgorithmUnsupported, algorithmRemedy, "the private key is a %s, which cannot sign", fmt.Sprintf("%T", key))
}

// sameKey reports whether key is the private half of the certificate's public key.
func sameKey(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}
