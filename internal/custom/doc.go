// Package custom checks certificates that users bring in Secrets, before anything of pgtls uses them.
//
// It is pure, as package pki is: no I/O, no clock. The content of a Secret goes in; what pgtls may store for a pod, and
// findings for a person, come out. Nothing of the Secret's text is handed on: what was read is encoded anew, so that a
// comment, a key that does not belong there or a byte order mark never reaches a pod.
//
// # What the verdict means
//
// A certificate is refused when PostgreSQL, PgBouncer or libpq would not load it or would not log in with it, and accepted
// when they do. test/corpus holds the cases, and "make corpus" puts each to the real programs. Whatever works but will
// hurt later is a warning.
//
// # Where it is stricter than those programs
//
// Everything that is presented in a cluster must also convince the operator, the agents and clients in other languages. So
// these are refused although libpq takes them; the corpus has each of them as a strict case, with this reason:
//
//   - A server's certificate whose host names stand in the common name alone: libpq and a few others look there. Clients in
//     Go and in Rust do not, nor does the operator when it proves what is served.
//   - A certificate without key identifiers, as "openssl x509 -req" makes it before OpenSSL 3.2: with two authorities of one
//     name, which every renewal of an authority brings, verifiers cannot tell them apart.
//   - An authority without key usage keyCertSign, or whose basic constraints are not critical: RFC 5280 demands both, and
//     Python since 3.13 refuses it.
//   - A self-signed certificate that is its own anchor, whether it calls itself a CA or not: renewing it takes every
//     client away at once, which is the outage that pgtls exists to prevent. If it is a CA, each pod's key could sign more.
//   - Ed25519 for a pooler (PgBouncer has no channel binding), and for a client whose extended key usage does not rule a
//     server out: it would break password logins wherever a server presents it.
//   - A leaf whose key usage lacks digitalSignature: RFC 8446 section 4.4.2.2 demands it, and clients that look at it refuse.
//   - A block with something before its first dash, which OpenSSL skips without a word: nobody has put it there to be skipped.
//   - An OpenSSL "TRUSTED CERTIFICATE" among anchors: OpenSSL alone reads it, and PostgreSQL does not even so.
//   - More than 100 certificates in one text.
package custom
