// Package pki makes, reads and verifies the certificates of pgtls.
//
// It is pure: no file, no socket, no clock. Time is an argument everywhere, and the only
// randomness is crypto/rand, for keys, serial numbers and signatures. It imports the standard
// library alone, so the agent and package rotation can use it without linking Kubernetes.
//
// # What it makes
//
// An Authority is a self-signed CA certificate with its key. It issues leaves: Authority.Issue
// returns a KeyPair with a fresh key each time. Both carry what the strictest verifiers want:
// an explicit subject key identifier, an authority key identifier, critical basic constraints,
// and a random serial number of 20 octets.
//
// # What it reads
//
// ParseAuthority, ParseKeyPair and ParseBundle read PEM of untrusted origin. They take
// comments between blocks, as OpenSSL does, but a block that is cut or garbled is an error and
// never skipped: what one program skips, another trusts.
//
// # What it decides
//
// Verify tells whether a presented chain would be accepted, and is at least as strict as both
// OpenSSL (libpq, PostgreSQL, PgBouncer) and crypto/x509, because gates open on its verdict.
// RenewalTime tells when to renew. Revision names the content of a material.
//
// # Errors
//
// Whatever is wrong with the material or the request is an *Error with a Reason out of a closed set,
// a fact and a remedy. ReasonOf finds the Reason under any wrapping. No error holds key bytes.
package pki
