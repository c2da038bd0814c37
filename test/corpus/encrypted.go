package corpus

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"strings"
)

const passphrase = "secret"

func decode(text []byte) []byte {
	b, _ := pem.Decode(text)
	return b.Bytes
}

// encryptedPKCS8 is what "openssl genpkey -aes256" writes: PBES2 (RFC 8018) with PBKDF2 and AES-256-CBC.
func encryptedPKCS8(text []byte) []byte {
	salt, iv := random(16), random(aes.BlockSize)
	secret := must(pbkdf2.Key(sha256.New, passphrase, salt, 2048, 32))
	raw := func(v any) asn1.RawValue { return asn1.RawValue{FullBytes: must(asn1.Marshal(v))} }
	derivation := raw(struct {
		Salt  []byte
		Count int
		PRF   pkix.AlgorithmIdentifier
	}{salt, 2048, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}})
	parameters := raw(struct{ Derivation, Cipher pkix.AlgorithmIdentifier }{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, Parameters: derivation},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, Parameters: raw(iv)},
	})
	return block("ENCRYPTED PRIVATE KEY", must(asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, Parameters: parameters}, encrypt(secret, iv, decode(text))})))
}

// encryptedTraditional is what "openssl ec -aes128" writes, with the key derived by one round of MD5 (RFC 1423 and OpenSSL).
func encryptedTraditional(text []byte) []byte {
	iv := random(aes.BlockSize)
	sum := md5.Sum(append([]byte(passphrase), iv[:8]...))
	return pem.EncodeToMemory(&pem.Block{
		Type:    "EC PRIVATE KEY",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC," + strings.ToUpper(hex.EncodeToString(iv))},
		Bytes:   encrypt(sum[:], iv, decode(traditional(must(x509.ParsePKCS8PrivateKey(decode(text))).(crypto.Signer)))),
	})
}

func encrypt(secret, iv, plain []byte) []byte {
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	padded := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(padding)}, padding)...)
	out := make([]byte, len(padded))
	cipher.NewCBCEncrypter(must(aes.NewCipher(secret)), iv).CryptBlocks(out, padded)
	return out
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
