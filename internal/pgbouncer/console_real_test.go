package pgbouncer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgtls.dev/pgtls/internal/postgres/pgtest"
	"pgtls.dev/pgtls/test/require"
)

// crowded is a PgBouncer that may open few files, and a console that it has let in already.
type crowded struct {
	console Console
	stderr  string
	pid     int
}

func startCrowded(t *testing.T) *crowded {
	t.Helper()
	binary, limit := require.Program(t, "pgbouncer"), require.Program(t, "util-linux")
	account := pgtest.Prepare(t) // PgBouncer does not run as root either
	root := filepath.Dir(account.DataDir)
	c := &crowded{console: Console{SocketDir: account.SocketDir, Port: account.Port}, stderr: filepath.Join(root, "stderr")}
	write := func(name, content string) string {
		path := filepath.Join(root, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		account.Own(t, path)
		return path
	}
	log, users := write("pooler.log", ""), write("users", "\"pgbouncer\" \"\"\n")
	ini := write("pgbouncer.ini", fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir = %s\n"+
		"admin_users = pgbouncer\nauth_type = trust\nauth_file = %s\nlogfile = %s\ntcp_defer_accept = 0\n", account.Port, account.SocketDir, users, log))
	stderr, err := os.Create(c.stderr)
	if err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(context.WithoutCancel(t.Context()), limit, fmt.Sprintf("--nofile=%d", mostFiles), binary, ini)
	process.Stderr = stderr
	account.RunAs(process)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGQUIT)
		_ = process.Wait()
		_ = stderr.Close()
	})
	c.pid = process.Process.Pid
	for deadline := time.Now().Add(20 * time.Second); c.console.Ready(t.Context()) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("PgBouncer does not come up\n%s", c.says(t))
		}
	}
	return c
}

func (c *crowded) says(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(c.stderr)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const mostFiles = 24

func (c *crowded) openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func (c *crowded) enter(t *testing.T) {
	t.Helper()
	client, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", c.console.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
}

// fill lets clients in until no file is left, and none beyond.
func (c *crowded) fill(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for open := c.openFiles(t); open < mostFiles; open = c.openFiles(t) {
		c.enter(t)
		for c.openFiles(t) == open {
			if time.Now().After(deadline) {
				t.Fatalf("a client is not let in with %d files open\n%s", open, c.says(t))
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// PgBouncer ends when it cannot open its log, which each RELOAD closes. The next client must not get its place.
func TestAReloadAtTheLimitOfOpenFilesEndsNoConnection(t *testing.T) {
	c := startCrowded(t)
	conn, err := c.console.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.fill(t)
	for n := range 5 {
		// Whether PgBouncer has a file left to read its configuration is another question; it has to live.
		_ = reload(t.Context(), conn)
		if conn.IsClosed() {
			t.Fatalf("reload %d: PgBouncer is gone\n%s", n, c.says(t))
		}
		c.enter(t)
	}
	if says := c.says(t); strings.Contains(says, "FATAL") || !strings.Contains(says, "Too many open files") {
		t.Errorf("PgBouncer was never at its limit, or is gone\n%s", says[max(0, len(says)-2000):])
	}
}
