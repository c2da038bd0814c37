package pki

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// Revision names the content of a material: 16 lower-case hex digits, the first 64 bits of a SHA-256 over
// the pairs of key and value in the order of the keys. Each is preceded by its length in 8 bytes, so
// that moving a byte from a key to its value or to the next pair makes another revision.
//
// Operator and agent compute it on their own, from the Secret and from the mounted files.
func Revision(data map[string][]byte) string {
	hash := sha256.New()
	write := func(b []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(b)))
		hash.Write(length[:])
		hash.Write(b)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		write([]byte(key))
		write(data[key])
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}
