package desired

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	passwordBytes   = 18 // 144 bits, 24 characters
	maxPassword     = 256
	scramIterations = 4096 // what PostgreSQL itself uses
	scramSaltBytes  = 16
)

// Credentials of a user: the password, and the SCRAM-SHA-256 verifier that PostgreSQL stores in its place
// (RFC 5803, without SASLprep: the password is printable ASCII).
type Credentials struct{ Password, Verifier string }

// KeepCredentials returns the credentials in a Secret's data where they are usable, and makes what is missing,
// blank or garbled. random gives the new password and salt. A password that the user wrote stays, and gets a verifier.
func KeepCredentials(data map[string][]byte, random io.Reader) (Credentials, error) {
	kept := Credentials{Password: string(data["password"]), Verifier: string(data["verifier"])}
	if !usablePassword(kept.Password) {
		password, err := newPassword(random)
		if err != nil {
			return Credentials{}, err
		}
		kept.Password = password
	}
	if verifies(kept.Verifier, kept.Password) {
		return kept, nil
	}
	salt := make([]byte, scramSaltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return Credentials{}, fmt.Errorf("making a salt: %w", err)
	}
	verifier, err := scramVerifier(kept.Password, salt, scramIterations)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{Password: kept.Password, Verifier: verifier}, nil
}

func usablePassword(password string) bool {
	return password != "" && len(password) <= maxPassword &&
		!strings.ContainsFunc(password, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// newPassword uses the URL-safe alphabet, so that it stands unescaped in a URI.
func newPassword(random io.Reader) (string, error) {
	raw := make([]byte, passwordBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("making a password: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

func verifies(verifier, password string) bool {
	parameters, ok := strings.CutPrefix(verifier, "SCRAM-SHA-256$")
	if !ok {
		return false
	}
	parameters, _, _ = strings.Cut(parameters, "$")
	count, encoded, _ := strings.Cut(parameters, ":")
	iterations, err := strconv.Atoi(count)
	if err != nil || iterations != scramIterations {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(salt) != scramSaltBytes {
		return false
	}
	again, err := scramVerifier(password, salt, iterations)
	return err == nil && again == verifier
}

// scramVerifier is SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as in pg_authid.rolpassword.
func scramVerifier(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("deriving a SCRAM key: %w", err)
	}
	stored := sha256.Sum256(keyed(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(keyed(salted, "Server Key"))), nil
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
