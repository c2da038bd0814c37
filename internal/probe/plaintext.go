package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// PlaintextRefused returns nil only when the server at target.Address is seen to refuse a client that does not use
// TLS: PostgreSQL and PgBouncer must answer a plain start-up as User to Database with an error that refuses the client,
// and an HTTPS server must not answer a plain request with anything but 400 or a closed connection.
//
// Errors: *Error; PlaintextAccepted when it goes on without TLS, UnexpectedReply when the answer proves nothing.
func PlaintextRefused(ctx context.Context, target Target) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.Address)
	if err != nil {
		return classify(ctx, target.Address, Refused, err)
	}
	defer func() { _ = conn.Close() }() // nothing is lost with it
	release := bind(ctx, conn)
	defer release()

	check := plainStartupRefused
	if target.Protocol == HTTPS {
		check = plainRequestRefused
	}
	if err := check(conn, target); err != nil {
		return withAddress(ctx, target.Address, err)
	}
	return nil
}

func plainStartupRefused(conn net.Conn, target Target) error {
	if _, err := conn.Write(startupMessage(target.User, target.Database)); err != nil {
		return unexpected(fmt.Errorf("sending the start-up: %w", err))
	}
	reply, err := readReply(bufio.NewReader(conn))
	switch {
	case err != nil:
		return err
	case reply.kind == authenticationReply:
		return &stageError{PlaintextAccepted, fmt.Errorf("the server asks %q to authenticate without TLS", target.User)}
	case !reply.refusesClient():
		return unexpected(fmt.Errorf("the server answered %q: %s", reply.answer(), reply.message))
	}
	return nil
}

func plainRequestRefused(conn net.Conn, target Target) error {
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target.ServerName); err != nil {
		return unexpected(err)
	}
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return unexpected(err)
	}
	_ = response.Body.Close() // only the status counts
	if response.StatusCode != http.StatusBadRequest {
		return &stageError{PlaintextAccepted, fmt.Errorf("the server answered a plain request with %s", response.Status)}
	}
	return nil
}
