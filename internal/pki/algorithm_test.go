package pki

import (
	"crypto"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

func TestGenerateKey(t *testing.T) {
	for _, alg := range Algorithms() {
		t.Run(string(alg), func(t *testing.T) {
			key := must[crypto.Signer](t)(GenerateKey(alg))
			if got := AlgorithmOf(key.Public()); got != alg {
				t.Errorf("made a key of the kind %q, want %q", got, alg)
			}
			if err := checkKeyAlgorithm("the key", key.Public()); err != nil {
				t.Errorf("we refuse our own: %v", err)
			}
		})
	}
}

func TestDefaultAlgorithm(t *testing.T) {
	key := must[crypto.Signer](t)(GenerateKey(""))
	if got := AlgorithmOf(key.Public()); got != DefaultAlgorithm || Algorithms()[0] != got {
		t.Errorf("default %q, first %q, made %q", DefaultAlgorithm, Algorithms()[0], got)
	}
}

func TestGenerateKeyRefuses(t *testing.T) {
	for _, alg := range []Algorithm{"Ed25519", "ed25519", "RSA-1024", "RSA-8192", "RSA", "ECDSA-P521", "P256", " ", "ecdsa-p256"} {
		key, err := GenerateKey(alg)
		wantReason(t, err, AlgorithmUnsupported)
		if key != nil {
			t.Errorf("%q: a key comes with the error", alg)
		}
	}
}

func TestAlgorithmOf(t *testing.T) {
	exchange := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	tests := map[Algorithm]crypto.PublicKey{
		"ECDSA-P224": pkitest.ECKeyOn(elliptic.P224()).Public(),
		"ECDSA-P521": pkitest.ECKeyOn(elliptic.P521()).Public(),
		"RSA-1024":   pkitest.RSAKey(1024).Public(),
		"RSA-8193":   &rsa.PublicKey{N: sharedLongModulus(), E: 65537},
		"Ed25519":    pkitest.Ed25519Key().Public(),
		"":           exchange.PublicKey(),
	}
	for want, public := range tests {
		if got := AlgorithmOf(public); got != want {
			t.Errorf("%T is %q, want %q", public, got, want)
		}
	}
	if AlgorithmOf(nil) != "" {
		t.Error("no key has an algorithm")
	}
}

func TestCheckKeyAlgorithm(t *testing.T) {
	exchange := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	modulus := func(bits uint) *rsa.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}
	}
	tests := []struct {
		public crypto.PublicKey
		want   Reason
	}{
		{pkitest.ECKey().Public(), ""},
		{pkitest.ECKeyOn(elliptic.P521()).Public(), ""},
		{pkitest.Ed25519Key().Public(), ""},
		{pkitest.ECKeyOn(elliptic.P224()).Public(), AlgorithmUnsupported},
		{modulus(2047), AlgorithmUnsupported},
		{modulus(2048), ""},
		{modulus(8192), ""},
		{modulus(8193), AlgorithmUnsupported},
		{exchange.PublicKey(), AlgorithmUnsupported},
		{nil, AlgorithmUnsupported},
	}
	for _, test := range tests {
		if err := checkKeyAlgorithm("the key", test.public); ReasonOf(err) != test.want {
			t.Errorf("%T %s: %v, want %q", test.public, AlgorithmOf(test.public), err, test.want)
		}
	}
}

func TestAlgorithmsIsACopy(t *testing.T) {
	first := Algorithms()
	first[0] = "changed"
	if slices.Contains(Algorithms(), "changed") {
		t.Error("a caller can change the list for all")
	}
}

// sharedLongModulus has 8193 bits. It is no product of primes, which no parser checks.
func sharedLongModulus() *big.Int { return new(big.Int).Lsh(big.NewInt(1), 8192) }
