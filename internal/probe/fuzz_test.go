package probe

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// A server may answer anything to the start-up: it must neither crash a probe nor make it take much memory.
func FuzzReadReply(f *testing.F) {
	f.Add(authenticationOK())
	f.Add(failure("28000", "no pg_hba.conf entry"))
	f.Add([]byte("E\xff\xff\xff\xff"))
	f.Add([]byte("E\x00\x00\x00\x03"))
	f.Add([]byte("HTTP/1.1 400 Bad Request"))
	f.Fuzz(func(t *testing.T, text []byte) {
		reply, err := readReply(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		if !strings.ContainsRune(replyKinds, rune(reply.kind)) {
			t.Errorf("a message of kind %q is taken", reply.kind)
		}
		if strings.Contains(reply.message, "\x00") || len(reply.message) > maxErrorBytes {
			t.Errorf("message %q", reply.message)
		}
	})
}

func FuzzIssuerNames(f *testing.F) {
	f.Add(newDomain(f, "hippo ca g1").authority.Certificate.RawSubject)
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, name := range issuerNames([][]byte{der}) {
			if !utf8.ValidString(name) && utf8.Valid(der) {
				t.Errorf("name %q", name)
			}
		}
	})
}
