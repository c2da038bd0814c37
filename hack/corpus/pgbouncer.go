package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"pgtls.dev/pgtls/internal/custom"
)

// tryPooler starts a PgBouncer with the material; libpq verifies it with the trust, and logs in through it.
func (b *bench) tryPooler(ctx context.Context, names []string, m material) (verdict, error) {
	err := b.pooler.writeAll(map[string][]byte{
		"pgbouncer.ini": []byte(b.ini()), "users": []byte(`"app" "` + password + `"` + "\n"),
		custom.CertificateFile: m.certificate, custom.KeyFile: m.key, custom.AuthorityFile: b.ownRoot.EncodeCertificate(),
	})
	if err != nil {
		return verdict{}, err
	}
	if err := b.database.write("pooled/root.crt", orNone(m.trust)); err != nil {
		return verdict{}, err
	}
	var said output
	command := b.pooler.command(context.WithoutCancel(ctx), "/usr/sbin/pgbouncer", scratch+"/pgbouncer.ini")
	command.Stdout, command.Stderr = &said, &said
	process, err := start(command)
	if err != nil {
		return verdict{}, fmt.Errorf("starting PgBouncer: %w", err)
	}
	defer process.stop(syscall.SIGKILL)
	listening := await(ctx, process.ended, 10*time.Second, func() bool { return accepts(b.poolerPort) })
	if !listening {
		return fails("PgBouncer does not start: %s", said.lastLine()), nil
	}
	return b.connectAs(ctx, names, b.poolerPort, scratch+"/pooled/root.crt"), nil
}

func (b *bench) ini() string {
	return fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=pooled
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %[3]s/users
server_tls_sslmode = disable
client_tls_sslmode = require
client_tls_protocols = tlsv1.3
client_tls_cert_file = %[3]s/tls.crt
client_tls_key_file = %[3]s/tls.key
client_tls_ca_file = %[3]s/ca.crt
`, b.databasePort, b.poolerPort, scratch)
}

func accepts(port int) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// output is what a process prints, while it prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(o.text.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-2):], "; ")
}
