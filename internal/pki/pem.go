package pki

import (
	"bytes"
	"encoding/pem"
	"unicode/utf8"
)

// Limits of what is read. Material of pgtls is far below both; beyond them something is wrong.
const (
	MaxInputBytes   = 1 << 20 // of one PEM text
	MaxCertificates = 100     // in one PEM text
)

const (
	beginMarker  = "-----BEGIN"
	endMarker    = "-----END"
	markerDashes = "-----"
)

const pemRemedy = "give PEM with whole blocks, each marker on a line of its own"

// decodeBlocks returns every block of a PEM text, and none of a blank one. Unlike encoding/pem, which skips what it cannot read
// and goes on with the next block, it refuses a text that has anything like a damaged block.
//
// Errors: TooLarge, NotPEM, TrailingGarbage.
func decodeBlocks(text []byte) ([]*pem.Block, error) {
	if len(text) > MaxInputBytes {
		return nil, refuse(TooLarge, "keep it under 1 MiB", "the PEM text has %d bytes", len(text))
	}
	var blocks []*pem.Block
	for rest := text; ; {
		begin := bytes.Index(rest, []byte(beginMarker))
		if begin < 0 && len(blocks) == 0 && !isBlank(text) {
			return nil, refuse(NotPEM, pemRemedy, "there is text but no PEM block")
		}
		if begin < 0 {
			return blocks, checkComment(rest)
		}
		if err := checkComment(rest[:begin]); err != nil {
			return nil, err
		}
		if begin > 0 && rest[begin-1] != '\n' {
			return nil, refuse(NotPEM, pemRemedy, "block %d does not start on a new line", len(blocks)+1)
		}
		block, after := pem.Decode(rest[begin:])
		if block == nil || bytes.Count(rest[begin:len(rest)-len(after)], []byte(beginMarker)) != 1 {
			return nil, refuse(NotPEM, pemRemedy, "block %d is cut or garbled", len(blocks)+1)
		}
		blocks, rest = append(blocks, block), after
	}
}

// checkComment takes any text between blocks that cannot be part of a damaged one. A line that starts like
// a marker is the rest of one: without this, a text cut within the marker of its last block would pass.
func checkComment(text []byte) error {
	if bytes.Contains(text, []byte(endMarker)) {
		return refuse(TrailingGarbage, pemRemedy, "there is an end of a block without its beginning")
	}
	if bytes.HasPrefix(text, []byte(markerDashes)) || bytes.Contains(text, []byte("\n"+markerDashes)) {
		return refuse(TrailingGarbage, pemRemedy, "there is a line that starts like a marker and is none")
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return refuse(TrailingGarbage, pemRemedy, "there are bytes outside the blocks that are no text")
	}
	return nil
}

// isBlank reports whether there is nothing to read at all.
func isBlank(text []byte) bool { return len(bytes.TrimSpace(text)) == 0 }
