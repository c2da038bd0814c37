package logtail

import (
	"testing"

	"pgtls.dev/pgtls/internal/party"
)

// The lines are from PostgreSQL 15 and 17 and PgBouncer 1.18 and 1.24, or say "made" where only OpenSSL's words differ.
func TestOnlyClientsThatRefuseAreSeen(t *testing.T) {
	const (
		instance = party.PostgreSQL
		pooler   = party.PgBouncer
	)
	tests := []struct {
		name string
		kind party.Program
		line string
		want string
	}{
		{"libpq", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: tlsv1 alert unknown ca", "unknown ca"},
		{"made: Go, OpenSSL 3.0", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: sslv3 alert bad certificate", "bad certificate"},
		{"made: Go, OpenSSL 3.5", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: ssl/tls alert bad certificate", "bad certificate"},
		{"made: Java", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: sslv3 alert certificate unknown", "certificate unknown"},
		{"made: expired", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: ssl/tls alert certificate expired", "certificate expired"},
		{"made: revoked", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: sslv3 alert certificate revoked", "certificate revoked"},
		{"made: unsupported", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: ssl/tls alert unsupported certificate", "unsupported certificate"},
		{"verbose", instance, "2026-11-25 13:09:36.898 UTC [12781] LOG:  08P01: could not accept SSL connection: tlsv1 alert unknown ca", "unknown ca"},
		{"a prefix of the user's", instance, "db=[unknown],user=[unknown],client=10.0.0.7 LOG:  could not accept SSL connection: tlsv1 alert unknown ca", "unknown ca"},
		{"no prefix", instance, "LOG:  could not accept SSL connection: tlsv1 alert unknown ca", "unknown ca"},

		{"PostgreSQL refuses the client", instance, "2026-11-25 13:09:37.037 UTC [12789] LOG:  could not accept SSL connection: certificate verify failed", ""},
		{"its detail", instance, "2026-11-25 13:09:49.789 UTC [13720] DETAIL:  Client certificate verification failed at depth 0: self-signed certificate.", ""},
		{"no TLS 1.3", instance, "2026-11-25 13:09:37.037 UTC [12789] LOG:  could not accept SSL connection: unsupported protocol", ""},
		{"hung up", instance, "2026-11-25 13:09:37.037 UTC [12789] LOG:  could not accept SSL connection: EOF detected", ""},
		{"another alert", instance, "2026-11-25 13:09:37.037 UTC [12789] LOG:  could not accept SSL connection: tlsv1 alert internal error", ""},
		{"longer words", instance, "2026-11-25 13:09:37.037 UTC [12789] LOG:  could not accept SSL connection: tlsv1 alert unknown ca, or so", ""},
		{"the standby does not trust the primary", instance, `2026-11-25 13:09:37.037 UTC [99] FATAL:  could not connect to the primary server: connection to server at "10.0.0.9", port 5432 failed: SSL error: certificate verify failed`, ""},
		{"the primary does not trust the standby", instance, `2026-11-25 13:09:37.037 UTC [99] FATAL:  could not connect to the primary server: connection to server at "10.0.0.9", port 5432 failed: SSL error: tlsv1 alert unknown ca`, ""},
		{"a statement", instance, "2026-11-25 13:09:37.037 UTC [99] LOG:  statement: select 'could not accept SSL connection: tlsv1 alert unknown ca", ""},
		{"second line of a statement", instance, "\tLOG:  could not accept SSL connection: tlsv1 alert unknown ca", ""},
		{"an application's name", instance, "[LOG:  could not accept SSL connection: tlsv1 alert unknown ca] LOG:  disconnection: session time: 0:00:00.1", ""},
		{"PgBouncer's line", instance, "2026-11-25 13:09:38.037 UTC [12694] WARNING TLS handshake error: handshake failed: error:0A000418:SSL routines::tlsv1 alert unknown ca", ""},
		{"nothing", instance, "x", ""},

		{"libpq", pooler, "2026-11-25 13:09:38.037 UTC [12694] WARNING TLS handshake error: handshake failed: error:0A000418:SSL routines::tlsv1 alert unknown ca", "unknown ca"},
		{"made: OpenSSL 1.1", pooler, "2026-11-25 13:09:38.037 UTC [12694] WARNING TLS handshake error: handshake failed: error:14094412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate", "bad certificate"},
		{"made: OpenSSL 3.5", pooler, "2026-11-25 13:09:38.037 UTC [12694] WARNING TLS handshake error: handshake failed: error:0A000412:SSL routines::ssl/tls alert bad certificate", "bad certificate"},

		{"PgBouncer refuses a client", pooler, "2026-11-25 13:09:38.351 UTC [12694] WARNING TLS handshake error: handshake failed: error:0A000086:SSL routines::certificate verify failed", ""},
		{"PostgreSQL refuses PgBouncer", pooler, "2026-11-25 13:48:30.146 UTC [3621] WARNING tls_sbufio_recv: read failed: error:0A000418:SSL routines::tlsv1 alert unknown ca", ""},
		{"and what follows", pooler, "2026-11-25 13:48:30.146 UTC [3621] LOG S-0x56166a73a8a0: postgres/postgres@127.0.0.1:54017 closing because: server conn crashed? (age=0s)", ""},
		{"a user's name", pooler, "2026-11-25 13:48:30.146 UTC [3621] LOG C-0x56166a719ce0: db/WARNING TLS handshake error: tlsv1 alert unknown ca@10.0.0.7:5 login attempt", ""},
		{"a user's name at the end", pooler, "2026-11-25 13:48:30.146 UTC [3621] LOG C-0x56166a719ce0: (nodb)/(nouser)@10.0.0.7:5 login attempt: db=a user=WARNING TLS handshake error: tlsv1 alert unknown ca", ""},
		{"made: a database's name", pooler, "2026-11-25 13:48:30.146 UTC [3621] WARNING C-0x56166a719ce0: (nodb)/(nouser)@10.0.0.7:5 pooler error: no such database: TLS handshake error: tlsv1 alert unknown ca", ""},
		{"hung up", pooler, "2026-11-25 13:09:38.037 UTC [12694] WARNING TLS handshake error: handshake failed: unexpected EOF", ""},
		{"PostgreSQL's line", pooler, "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: tlsv1 alert unknown ca", ""},
	}
	for _, test := range tests {
		if got := refusedBy(test.kind, []byte(test.line)); got != test.want {
			t.Errorf("%s, %s: %q, want %q", test.kind, test.name, got, test.want)
		}
	}
}

func FuzzRefusedBy(f *testing.F) {
	f.Add("2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: tlsv1 alert unknown ca")
	f.Add("a b c d WARNING TLS handshake error: x:tlsv1 alert unknown ca")
	f.Fuzz(func(t *testing.T, line string) {
		for _, kind := range []party.Program{party.PostgreSQL, party.PgBouncer} {
			if line == "" {
				continue // the follower gives none
			}
			if words := refusedBy(kind, []byte(line)); words != "" && line[len(line)-len(words):] != words {
				t.Errorf("%q is told of %q", words, line)
			}
		}
	})
}
