package desired

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func random() *bytes.Reader {
	source := make([]byte, 1024)
	for i := range source {
		source[i] = byte(i * 7)
	}
	return bytes.NewReader(source)
}

// RFC 7677 section 3 gives an exchange: what the verifier holds must make the server's signature in it, and
// must accept the client's proof.
func TestVerifierIsThatOfRFC7677(t *testing.T) {
	const message = "n=user,r=rOprNGfwEbeRWgbNEkqO," +
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	verifier := must(scramVerifier("pencil", decoded(t, "W22ZaJ0SNY7soEsUEjb6gQ=="), 4096))(t)
	parameters, keys, _ := strings.Cut(strings.TrimPrefix(verifier, "SCRAM-SHA-256$"), "$")
	if parameters != "4096:W22ZaJ0SNY7soEsUEjb6gQ==" {
		t.Errorf("parameters %q", parameters)
	}
	stored, server, _ := strings.Cut(keys, ":")
	if got := keyed(decoded(t, server), message); base64.StdEncoding.EncodeToString(got) != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("the server's signature would be %x", got)
	}
	clientKey := decoded(t, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	for i, b := range keyed(decoded(t, stored), message) {
		clientKey[i] ^= b
	}
	if sum := sha256.Sum256(clientKey); !hmac.Equal(sum[:], decoded(t, stored)) {
		t.Error("the client's proof would be refused")
	}
}

func decoded(t *testing.T, text string) []byte {
	t.Helper()
	return must(base64.StdEncoding.DecodeString(text))(t)
}

func data(password, verifier string) map[string][]byte {
	return map[string][]byte{"password": []byte(password), "verifier": []byte(verifier)}
}

func TestGoodCredentialsStay(t *testing.T) {
	made := must(KeepCredentials(nil, random()))(t)
	kept := must(KeepCredentials(data(made.Password, made.Verifier), iotest.ErrReader(errors.New("nothing new was needed"))))(t)
	if kept != made {
		t.Errorf("made %+v, kept %+v", made, kept)
	}
	if len(made.Password) != 24 || !usablePassword(made.Password) {
		t.Errorf("made password %q", made.Password)
	}
}

func TestAPasswordThatTheUserWroteGetsItsVerifier(t *testing.T) {
	before := must(KeepCredentials(nil, random()))(t)
	after := must(KeepCredentials(data("correct horse 'battery'", before.Verifier), random()))(t)
	if after.Password != "correct horse 'battery'" {
		t.Errorf("the password became %q", after.Password)
	}
	if after.Verifier == before.Verifier || !verifies(after.Verifier, after.Password) {
		t.Errorf("the verifier is %q", after.Verifier)
	}
}

func TestUnusablePasswordsAreMadeAnew(t *testing.T) {
	for name, password := range map[string]string{
		"blank": "", "binary": "\x00\x01", "with a line break": "abc\n", "not ASCII": "pässwort", "over-long": strings.Repeat("x", 257),
	} {
		t.Run(name, func(t *testing.T) {
			made := must(KeepCredentials(data(password, ""), random()))(t)
			if made.Password == password || !verifies(made.Verifier, made.Password) {
				t.Errorf("made %+v", made)
			}
		})
	}
}

func TestGarbledVerifiersAreMadeAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		garbage := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`SCRAM-SHA-256\$[0-9]{1,5}:[A-Za-z0-9+/=]{0,30}\$[A-Za-z0-9+/=:]{0,90}`),
			rapid.Just("md5"+strings.Repeat("0", 32)),
		).Draw(t, "verifier")
		made, err := KeepCredentials(data("pencil", garbage), random())
		if err != nil {
			t.Fatal(err)
		}
		if made.Password != "pencil" || !verifies(made.Verifier, "pencil") {
			t.Fatalf("from %q came %+v", garbage, made)
		}
	})
}

func TestWithoutRandomnessThereIsNoPassword(t *testing.T) {
	broken := errors.New("no entropy")
	if _, err := KeepCredentials(nil, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := KeepCredentials(data("pencil", ""), iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
