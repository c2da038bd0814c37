package custom

import (
	"bytes"
	"encoding/pem"
	"strings"
	"unicode/utf8"

	"pgtls.dev/pgtls/internal/pki"
)

const (
	certificateBlock = "CERTIFICATE"
	beginMarker      = "-----BEGIN "
	markerDashes     = "-----"
	byteOrderMark    = "\ufeff"
)

const pemRemedy = "give PEM with whole blocks, each marker on a line of its own"

// text is PEM taken apart. Unlike package pki, which refuses whatever it does not expect in what pgtls has written itself, this
// takes what OpenSSL takes: blocks of other kinds and any bytes between blocks.
type text struct {
	blocks  []*pem.Block
	garbage bool // bytes outside the blocks that are no comment
}

// split reads blocks up to the first that OpenSSL could not read either, which is the error. OpenSSL knows a block by its
// marker at the start of a line, passes over a byte order mark where it starts to read (3.0 and 3.5), and stumbles over a
// damaged block even when it looks for another kind.
func split(raw []byte) (text, error) {
	var t text
	if len(raw) > pki.MaxInputBytes {
		return t, damaged(pki.TooLarge, "keep what is needed", "it is larger than 1 MiB")
	}
	for rest := raw; ; {
		begin := bytes.Index(rest, []byte(beginMarker))
		if begin < 0 {
			t.garbage = t.garbage || !isComment(rest)
			return t, t.orNoPEM(raw)
		}
		if begin > 0 && rest[begin-1] != '\n' && string(rest[:begin]) != byteOrderMark {
			return t, damaged(pki.NotPEM, pemRemedy, "a block of it does not begin at the start of a line, and OpenSSL does not see it")
		}
		t.garbage = t.garbage || !isComment(rest[:begin])
		block, after := pem.Decode(rest[begin:])
		if block == nil || bytes.Count(rest[begin:len(rest)-len(after)], []byte(beginMarker)) != 1 {
			return t, damaged(pki.NotPEM, pemRemedy, "a block of it is cut or garbled")
		}
		t.blocks, rest = append(t.blocks, block), after
	}
}

// orNoPEM says what a text without any block seems to be.
func (t text) orNoPEM(raw []byte) error {
	switch {
	case len(t.blocks) > 0 || len(bytes.TrimSpace(raw)) == 0:
		return nil
	case raw[0] == 0x30:
		return damaged(pki.NotPEM, "convert it: openssl x509 -inform DER, or openssl pkey -inform DER", "it is no PEM and looks like DER")
	case bytes.HasPrefix(raw, []byte{0xff, 0xfe}) || bytes.HasPrefix(raw, []byte{0xfe, 0xff}):
		return damaged(pki.NotPEM, "save it as plain ASCII", "it is no PEM and looks like UTF-16")
	}
	return damaged(pki.NotPEM, pemRemedy, "it holds text and no PEM block")
}

func damaged(reason pki.Reason, remedy, fact string) error {
	return &pki.Error{Reason: reason, Fact: fact, Remedy: remedy}
}

// isComment tells a comment from the rest of a damaged block and from bytes that are no text.
func isComment(between []byte) bool {
	return utf8.Valid(between) && bytes.IndexByte(between, 0) < 0 &&
		!bytes.HasPrefix(between, []byte(markerDashes)) && !bytes.Contains(between, []byte("\n"+markerDashes))
}

func isKey(block *pem.Block) bool { return strings.HasSuffix(block.Type, "PRIVATE KEY") }
