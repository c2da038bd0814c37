// Package probe looks at what a server really presents: it dials, makes the
// TLS handshake of PostgreSQL, PgBouncer or HTTPS, verifies the chain as strictly as libpq does, and tells what it saw.
//
// Under TLS 1.3 a server's refusal of a client certificate arrives with the first
// read, after the handshake has succeeded for the client. So a probe with a client certificate always reads a byte.
//
// Every failure is an *Error with a Reason out of a closed set.
package probe
