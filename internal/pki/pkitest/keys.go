package pkitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"sync"
)

// ECKey makes a fresh ECDSA P-256 key.
func ECKey() crypto.Signer { return ECKeyOn(elliptic.P256()) }

// ECKeyOn makes a fresh ECDSA key on another curve.
func ECKeyOn(curve elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(curve, rand.Reader)) }

// Ed25519Key makes a fresh Ed25519 key.
func Ed25519Key() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

var rsaKeys sync.Map // of func() crypto.Signer, by size

// RSAKey is the one RSA key of that many bits in this process: large ones take seconds to make.
func RSAKey(bits int) crypto.Signer {
	made, _ := rsaKeys.LoadOrStore(bits, sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, bits)) }))
	return made.(func() crypto.Signer)()
}
