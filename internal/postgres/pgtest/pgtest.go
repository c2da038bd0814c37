// Package pgtest starts a real PostgreSQL for tests. It links no Kubernetes package and no production code.
package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgtls.dev/pgtls/test/require"
)

// Server is a running PostgreSQL. Its Unix socket accepts every user as every role.
type Server struct {
	SocketDir string
	Port      uint16
	DataDir   string
	Major     int

	uid, gid int
	programs string // directory of postgres, initdb, psql
}

// Options of a server.
type Options struct {
	// Settings of postgresql.conf by name.
	Settings map[string]string
	// HBA is appended to pg_hba.conf.
	HBA []string
}

// Address is where it listens with TCP.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.Port))) }

// Own gives files to the user that the server runs under: it reads a key only from its own files.
func (s *Server) Own(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Chown(path, s.uid, s.gid); err != nil {
			t.Fatal(err)
		}
	}
}

// Prepare runs initdb of the newest PostgreSQL on the machine.
func Prepare(t testing.TB) *Server {
	t.Helper()
	programs := filepath.Dir(require.Program(t, "postgresql"))
	// t.TempDir is too long a path for a Unix socket.
	root, err := os.MkdirTemp("/tmp", "pgtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	s := &Server{SocketDir: filepath.Join(root, "s"), DataDir: filepath.Join(root, "data"), Port: freePort(t), uid: os.Getuid(), gid: os.Getgid(), programs: programs}
	s.Major, _ = strconv.Atoi(filepath.Base(filepath.Dir(programs)))
	if s.uid == 0 {
		s.uid, s.gid = unprivileged(t)
	}
	for _, dir := range []string{s.SocketDir, s.DataDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Own(t, s.SocketDir, s.DataDir)
	out, err := s.command(t.Context(), "initdb", "-D", s.DataDir, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return s
}

// Start runs a prepared server until the test ends.
func (s *Server) Start(t testing.TB, options Options) {
	t.Helper()
	s.write(t, "pg_hba.conf", strings.Join(append([]string{"local all all trust", "local replication all trust"}, options.HBA...), "\n")+"\n")
	settings := []string{
		"listen_addresses = '127.0.0.1'", fmt.Sprintf("port = %d", s.Port), fmt.Sprintf("unix_socket_directories = '%s'", s.SocketDir),
		"fsync = off", "shared_buffers = 16MB", "max_connections = 40",
	}
	for name, value := range options.Settings {
		settings = append(settings, fmt.Sprintf("%s = '%s'", name, value))
	}
	s.write(t, "postgresql.conf", strings.Join(settings, "\n")+"\n")
	log, err := os.Create(filepath.Join(filepath.Dir(s.DataDir), "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := s.command(context.WithoutCancel(t.Context()), "postgres", "-D", s.DataDir)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT)
		_ = server.Wait()
		_ = log.Close()
	})
	s.awaitUp(t)
}

func (s *Server) awaitUp(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if s.command(t.Context(), "psql", "-h", s.SocketDir, "-p", strconv.Itoa(int(s.Port)), "-U", "postgres", "-c", "select 1").Run() == nil {
			return
		}
	}
	t.Fatalf("PostgreSQL did not come up:\n%s", s.Log(t))
}

// Standby starts a copy of a running server that streams from it until the test ends. connection is the
// primary_conninfo without application_name.
func (s *Server) Standby(t testing.TB, connection string) *Server {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "pgtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	copied := &Server{SocketDir: filepath.Join(root, "s"), DataDir: filepath.Join(root, "data"), Port: freePort(t), Major: s.Major, uid: s.uid, gid: s.gid, programs: s.programs}
	for _, dir := range []string{copied.SocketDir, copied.DataDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Own(t, copied.SocketDir, copied.DataDir)
	out, err := copied.command(t.Context(), "pg_basebackup", "-D", copied.DataDir, "-h", s.SocketDir, "-p", strconv.Itoa(int(s.Port)), "-U", "postgres", "--checkpoint=fast", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	copied.write(t, "standby.signal", "")
	copied.Start(t, Options{Settings: map[string]string{"primary_conninfo": strings.ReplaceAll(connection, "'", "''")}})
	return copied
}

// Log is what the server has written so far.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.DataDir), "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// SQL runs statements as postgres through psql and returns its output, unaligned and without headers.
func (s *Server) SQL(t testing.TB, database, sql string) string {
	t.Helper()
	psql := s.command(t.Context(), "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", s.SocketDir, "-p", strconv.Itoa(int(s.Port)), "-U", "postgres", "-d", database)
	psql.Stdin = strings.NewReader(sql)
	out, err := psql.CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Connect runs a statement through psql with a libpq connection string, as a client of its own, and returns what psql
// says. It runs in the directory above DataDir.
func (s *Server) Connect(ctx context.Context, connection, sql string) (string, error) {
	out, err := s.command(ctx, "psql", "-X", "-A", "-t", "-q", "-d", connection, "-c", sql).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s *Server) write(t testing.TB, name, content string) {
	t.Helper()
	path := filepath.Join(s.DataDir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Own(t, path)
}

// command runs a program of PostgreSQL as an unprivileged user: it refuses to run as root.
func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(s.programs, program), args...)
	command.Dir = filepath.Dir(s.DataDir)
	s.RunAs(command)
	return command
}

// RunAs makes a command run under the user that the server runs under, as the processes of a pod do.
func (s *Server) RunAs(command *exec.Cmd) {
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.gid)}}
	}
}

func unprivileged(t testing.TB) (uid, gid int) {
	t.Helper()
	account, err := user.Lookup("nobody")
	if err != nil {
		t.Fatalf("PostgreSQL does not run as root and there is no other user: %v", err)
	}
	uid, _ = strconv.Atoi(account.Uid)
	gid, _ = strconv.Atoi(account.Gid)
	return uid, gid
}

func freePort(t testing.TB) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}
