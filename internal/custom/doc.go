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
// Chains are verified as OpenSSL does by default (pki.VerifyRequest.Lenient). What strict verifiers refuse besides, such as Python's
// ssl module since 3.13, is the warning StrictVerifiersRefuse: an authority of plain "openssl req -x509", a leaf of "openssl x509
// -req" of older versions. A server's host names in the common name alone are a warning too: libpq, JDBC and PgBouncer look there
// where there is no alternative name, and replicas and the operator look at no name (docs/adr/0016).
//
// # Where it is stricter than those programs
//
// These are refused although libpq takes them; the corpus has each of them as a strict case, with this reason:
//
//   - A self-signed certificate that is its own anchor, whether it calls itself a CA or not: renewing it takes every
//     client away at once, which is the outage that pgtls exists to prevent. If it is a CA, each pod's key could sign more.
//   - A leaf that is a CA, for the same.
//   - Ed25519 for a pooler: PgBouncer has no channel binding, and a version that has it accepts no login.
//   - A block with something before its first dash, which OpenSSL skips in silence: the block was not meant to be skipped.
//   - An OpenSSL "TRUSTED CERTIFICATE" among anchors: OpenSSL alone reads it, and PostgreSQL does not even so.
package custom
