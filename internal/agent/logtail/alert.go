package logtail

import (
	"bytes"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/party"
)

// What stands in a line of a log before OpenSSL's words for why a handshake with a client failed.
const (
	postgresMark  = "could not accept SSL connection: "
	pgbouncerMark = "TLS handshake error: "
)

// refusedBy returns the words of the alert by which a client refused what it was shown, or "" when the line tells
// nothing of the kind.
//
// Only what a client says of the server's certificate counts. That PostgreSQL or PgBouncer refuse a client, or are
// refused or refuse as clients themselves, stands in other words, see the tests.
func refusedBy(program party.Program, line []byte) string {
	if program == party.PgBouncer {
		return pgbouncerRefusedBy(line)
	}
	return postgresRefusedBy(line)
}

// postgresRefusedBy knows nothing of log_line_prefix, which is the user's, and so looks from the end. A line that
// goes on with another one's text begins with a tab. With log_error_verbosity = verbose the class of the error precedes.
func postgresRefusedBy(line []byte) string {
	at := bytes.LastIndex(line, []byte(postgresMark))
	if at < 0 || line[0] == '\t' {
		return ""
	}
	before := bytes.TrimSuffix(line[:at], []byte("08P01: "))
	if !bytes.HasSuffix(before, []byte("LOG:  ")) {
		return ""
	}
	return distrust(string(line[at+len(postgresMark):]))
}

// pgbouncerRefusedBy takes lines with nothing but date, time, zone, process and level before the mark: PgBouncer says
// of a failed handshake neither with whom nor in which direction. As a client it speaks TLS 1.3 to PostgreSQL,
// where an alert comes after the handshake and is told as "tls_sbufio_recv".
func pgbouncerRefusedBy(line []byte) string {
	before, after, found := bytes.Cut(line, []byte(pgbouncerMark))
	if fields := bytes.Fields(before); !found || len(fields) != 5 || string(fields[4]) != "WARNING" {
		return ""
	}
	return distrust(string(after[bytes.LastIndexByte(after, ':')+1:]))
}

// distrust takes OpenSSL's words apart: "tlsv1 alert unknown ca"; the first one depends on its version.
func distrust(words string) string {
	protocol, alert, _ := strings.Cut(words, " alert ")
	if !slices.Contains([]string{"sslv3", "tlsv1", "tlsv13", "ssl/tls"}, protocol) {
		return ""
	}
	switch alert {
	case "unknown ca", "bad certificate", "unsupported certificate", "certificate revoked", "certificate expired", "certificate unknown":
		return alert
	}
	return ""
}
