package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Algorithm names a kind and size of key, such as "ECDSA-P256".
type Algorithm string

// The algorithms that GenerateKey knows. Material from elsewhere may carry others: see AlgorithmOf.
const (
	ECDSAP256 Algorithm = "ECDSA-P256"
	ECDSAP384 Algorithm = "ECDSA-P384"
	RSA2048   Algorithm = "RSA-2048"
	RSA3072   Algorithm = "RSA-3072"
	RSA4096   Algorithm = "RSA-4096"

	DefaultAlgorithm = ECDSAP256
)

// RSA keys outside these sizes are refused: OpenSSL's security level 2 (Debian's default) takes no
// smaller ones, and Go's TLS no larger ones.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

const algorithmRemedy = "use ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072 or RSA-4096"

// Algorithms returns what GenerateKey knows, the default first.
func Algorithms() []Algorithm {
	return []Algorithm{ECDSAP256, ECDSAP384, RSA2048, RSA3072, RSA4096}
}

// GenerateKey makes a private key from crypto/rand. The empty Algorithm means DefaultAlgorithm;
// any other that is not in Algorithms gives AlgorithmUnsupported.
func GenerateKey(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case ECDSAP256, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	if strings.HasPrefix(strings.ToLower(string(alg)), "ed25519") {
		return nil, refuseEd25519("an Ed25519 key was asked for")
	}
	return nil, refuse(AlgorithmUnsupported, algorithmRemedy, "key algorithm %q is unknown", alg)
}

// AlgorithmOf names the algorithm of a public key, also those that pgtls refuses:
// "ECDSA-P521", "RSA-1024", "Ed25519". A type that it does not know at all gives "".
func AlgorithmOf(pub crypto.PublicKey) Algorithm {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return Algorithm("ECDSA-" + strings.ReplaceAll(k.Curve.Params().Name, "-", ""))
	case *rsa.PublicKey:
		return Algorithm(fmt.Sprintf("RSA-%d", k.N.BitLen()))
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return ""
}

// checkKeyAlgorithm refuses keys that one of libpq, PostgreSQL, PgBouncer or Go's TLS cannot use.
// Ed25519 passes here, since it is harmless for clients and anchors: checkServerAlgorithm refuses it.
func checkKeyAlgorithm(what string, pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return nil
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); minRSABits <= bits && bits <= maxRSABits {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return refuse(AlgorithmUnsupported, algorithmRemedy, "%s has a key of the kind %q", what, AlgorithmOf(pub))
}

// checkServerAlgorithm refuses Ed25519 in a server's certificate, as its key or in its signature.
func checkServerAlgorithm(leaf *x509.Certificate) error {
	if leaf.PublicKeyAlgorithm == x509.Ed25519 {
		return refuseEd25519("the server certificate has an Ed25519 key")
	}
	if leaf.SignatureAlgorithm == x509.PureEd25519 {
		return refuseEd25519("the server certificate is signed with Ed25519")
	}
	return nil
}

// refuseEd25519: SCRAM's channel binding (tls-server-end-point, RFC 5929 section 4.1) hashes the server's
// certificate with the digest of its signature algorithm. Ed25519 has none, and libpq and PostgreSQL give
// up with "could not find digest for NID UNDEF", so that no login with a password succeeds.
func refuseEd25519(fact string) error {
	return refuse(AlgorithmUnsupported, algorithmRemedy,
		"%s, with which SCRAM channel binding fails (\"could not find digest for NID UNDEF\")", fact)
}
