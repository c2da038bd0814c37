package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Request codes and message types of PostgreSQL's protocol 3.0 (PostgreSQL documentation, chapter 54.7).
const (
	protocolVersion = 3 << 16
	sslRequestCode  = 80877103

	tlsAccepted         = 'S'
	tlsDenied           = 'N'
	authenticationReply = 'R'
	errorReply          = 'E'
	readyReply          = 'Z'
	replyKinds          = "REZSKNv" // all that a server may send before and with the first Z
)

// maxReplies bounds how many messages a login takes: about 15 parameters, a key, notices.
const maxReplies = 200

// SQLSTATEs that mean the server refuses the client or the way it comes, and not that the server is busy.
const (
	invalidAuthorizationClass = "28"    // no line in pg_hba.conf, no such role, wrong certificate
	protocolViolation         = "08P01" // PgBouncer: "SSL required", and also for a refused login
)

const maxErrorBytes = 1 << 16

// stageError carries a reason to where the address is known.
type stageError struct {
	reason Reason
	err    error
}

func (e *stageError) Error() string { return e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

func withAddress(ctx context.Context, address string, err error) error {
	if stage, ok := errors.AsType[*stageError](err); ok {
		return classify(ctx, address, stage.reason, stage.err)
	}
	return classify(ctx, address, UnexpectedReply, err)
}

func unexpected(err error) error { return &stageError{UnexpectedReply, err} }

// requestTLS sends SSLRequest. The answer is read byte by byte: what follows it belongs to TLS.
func requestTLS(conn net.Conn) error {
	request := binary.BigEndian.AppendUint32(nil, 8)
	request = binary.BigEndian.AppendUint32(request, sslRequestCode)
	if _, err := conn.Write(request); err != nil {
		return unexpected(fmt.Errorf("sending SSLRequest: %w", err))
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return unexpected(fmt.Errorf("reading the answer to SSLRequest: %w", err))
	}
	switch answer[0] {
	case tlsAccepted:
		return nil
	case tlsDenied:
		return &stageError{Plaintext, errors.New("the server answered SSLRequest with N")}
	}
	return unexpected(fmt.Errorf("the server answered SSLRequest with %q", answer[0]))
}

// readAnswer waits for the first byte after the handshake, with which a refusal of the client certificate comes.
func readAnswer(conn net.Conn, target Target, served *Served) error {
	if target.Protocol == HTTPS {
		return readHTTP(conn, target)
	}
	if _, err := conn.Write(startupMessage(target.User, target.Database)); err != nil {
		return clientRefused(fmt.Errorf("sending the start-up: %w", err))
	}
	reply, err := readLogin(bufio.NewReader(conn))
	if err != nil {
		return clientRefused(err)
	}
	served.Answer = reply.answer()
	if reply.refusesClient() {
		return clientRefused(fmt.Errorf("%s (SQLSTATE %s)", reply.message, reply.sqlState))
	}
	_, _ = conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate, so that the server logs no broken connection
	return nil
}

// readLogin reads until the server is ready, asks for more than the certificate, or refuses. PostgreSQL finds out that a role
// does not exist only after it has said that authentication is done.
func readLogin(r *bufio.Reader) (reply, error) {
	for range maxReplies {
		reply, err := readReply(r)
		if err != nil || reply.kind == errorReply || reply.kind == readyReply || reply.asksForMore {
			return reply, err
		}
	}
	return reply{}, unexpected(fmt.Errorf("the server sent %d messages without an end of the login", maxReplies))
}

// clientRefused is the stage after the handshake: an alert or a closed connection means our certificate.
func clientRefused(err error) error { return &stageError{ClientRefused, err} }

func readHTTP(conn net.Conn, target Target) error {
	path := target.Path
	if path == "" {
		path = "/"
	}
	if _, err := fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, target.ServerName); err != nil {
		return clientRefused(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodHead})
	if err != nil {
		return clientRefused(err)
	}
	_ = response.Body.Close() // empty
	if response.StatusCode == http.StatusForbidden {
		return clientRefused(errors.New(response.Status))
	}
	return nil
}

func startupMessage(user, database string) []byte {
	body := binary.BigEndian.AppendUint32(nil, protocolVersion)
	for _, word := range []string{"user", user, "database", database, "application_name", "pgtls probe"} {
		body = append(append(body, word...), 0)
	}
	body = append(body, 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// reply is a message of the server.
type reply struct {
	kind              byte
	asksForMore       bool   // an authentication request other than "done"
	sqlState, message string // of an error
}

func (r reply) answer() string {
	if r.kind == errorReply {
		return r.sqlState
	}
	return string(r.kind)
}

// refusesClient is false for errors such as 57P03 (starting up) and 53300 (too many connections).
func (r reply) refusesClient() bool {
	return r.kind == errorReply && (strings.HasPrefix(r.sqlState, invalidAuthorizationClass) || r.sqlState == protocolViolation)
}

func readReply(r *bufio.Reader) (reply, error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return reply{}, fmt.Errorf("reading the answer to the start-up: %w", err)
	}
	length := binary.BigEndian.Uint32(header[1:])
	if strings.IndexByte(replyKinds, header[0]) < 0 || length < 4 || length > maxErrorBytes {
		return reply{}, unexpected(fmt.Errorf("the server answered the start-up with %q", header[0]))
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return reply{}, fmt.Errorf("reading the answer to the start-up: %w", err)
	}
	answer := reply{kind: header[0]}
	switch answer.kind {
	case errorReply:
		answer.sqlState, answer.message = errorFields(body)
	case authenticationReply:
		answer.asksForMore = len(body) < 4 || binary.BigEndian.Uint32(body) != 0
	}
	return answer, nil
}

// errorFields reads the fields C and M of an ErrorResponse.
func errorFields(body []byte) (sqlState, message string) {
	for field := range strings.SplitSeq(string(body), "\x00") {
		switch {
		case strings.HasPrefix(field, "C"):
			sqlState = field[1:]
		case strings.HasPrefix(field, "M"):
			message = field[1:]
		}
	}
	return sqlState, message
}
