package pgbouncer

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// fakeConsole speaks as PgBouncer's console: the simple protocol only, one user, one database.
type fakeConsole struct {
	mu       sync.Mutex
	commands []string
	refuse   string // what to refuse every command with
}

func (f *fakeConsole) start(t *testing.T) Console {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgb") // t.TempDir is too long for a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.6432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return Console{SocketDir: dir, Port: 6432}
}

func (f *fakeConsole) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	backend := pgproto3.NewBackend(conn, conn)
	message, err := backend.ReceiveStartupMessage()
	startup, ok := message.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	if startup.Parameters["user"] != "pgbouncer" || startup.Parameters["database"] != "pgbouncer" {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "not allowed"})
		_ = backend.Flush()
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
	for {
		message, err := backend.Receive()
		query, ok := message.(*pgproto3.Query)
		if err != nil || !ok {
			return // Terminate, or the extended protocol that the console does not know
		}
		f.answer(backend, query.String)
	}
}

func (f *fakeConsole) answer(backend *pgproto3.Backend, command string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands = append(f.commands, command)
	switch {
	case f.refuse != "":
		backend.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "08P01", Message: f.refuse})
	case strings.HasPrefix(command, "SHOW"):
		backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("database")}, {Name: []byte("tls")}}})
		backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("app"), []byte("TLSv1.3")}})
		backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("pgbouncer"), nil}})
		backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
	default:
		backend.Send(&pgproto3.CommandComplete{CommandTag: []byte(command)})
	}
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
}

func TestCommands(t *testing.T) {
	fake := &fakeConsole{}
	console := fake.start(t)
	ctx := t.Context()
	if err := errors.Join(console.Reload(ctx), console.Ready(ctx)); err != nil {
		t.Fatal(err)
	}
	for _, show := range []func(context.Context) ([]Row, error){console.ShowPools, console.ShowServers, console.ShowClients, console.ShowConfig} {
		rows, err := show(ctx)
		if err != nil || len(rows) != 2 || rows[0]["database"] != "app" || rows[0]["tls"] != "TLSv1.3" || rows[1]["tls"] != "" {
			t.Errorf("rows are %v, %v", rows, err)
		}
	}
	want := []string{"RELOAD", "RESUME pgbouncer", "SHOW VERSION", "SHOW POOLS", "SHOW SERVERS", "SHOW CLIENTS", "SHOW CONFIG"}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if !slices.Equal(fake.commands, want) {
		t.Errorf("commands are %q, want %q", fake.commands, want)
	}
}

func TestIdleConnectionsOfBeforeAreWaitedFor(t *testing.T) {
	row := func(ptr, since, state string) Row { return Row{"ptr": ptr, "connect_time": since, "state": state} }
	before := []Row{row("0x1", "12:00:00", "idle"), row("0x2", "12:00:00", "active")}
	for name, c := range map[string]struct {
		now  []Row
		want bool
	}{
		"nothing is open":                {nil, false},
		"one is idle as it was":          {[]Row{row("0x1", "12:00:00", "idle")}, true},
		"one is used":                    {[]Row{row("0x2", "12:00:00", "active")}, false},
		"the used one was released":      {[]Row{row("0x2", "12:00:00", "used")}, true},
		"another one in the same memory": {[]Row{row("0x1", "12:00:05", "idle")}, false},
		"another one":                    {[]Row{row("0x9", "12:00:00", "idle")}, false},
	} {
		if got := idleAmong(before, c.now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestARefusedCommandIsAnError(t *testing.T) {
	console := (&fakeConsole{refuse: "admin access needed"}).start(t)
	err := console.Reload(t.Context())
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refusal.Message != "admin access needed" || !strings.HasPrefix(err.Error(), "RELOAD of PgBouncer: ") {
		t.Errorf("got %v", err)
	}
}

func TestNoPgBouncer(t *testing.T) {
	console := Console{SocketDir: t.TempDir(), Port: 6432}
	if err := console.Ready(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a socket: %v", err)
	}
}

func TestAMutePgBouncerHoldsNoCallerUp(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "pgb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.6432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := (Console{SocketDir: dir, Port: 6432}).Ready(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}
