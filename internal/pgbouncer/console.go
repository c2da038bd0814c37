// Package pgbouncer speaks to the console of PgBouncer and renders its configuration.
package pgbouncer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Console is a PgBouncer seen through its Unix socket. PgBouncer lets its own uid in as user "pgbouncer".
// Each call opens a connection and closes it.
type Console struct {
	SocketDir string
	Port      uint16 // the listen_port, which names the socket
}

const (
	consoleName    = "pgbouncer" // user and database
	consoleTimeout = 5 * time.Second
)

// Reload makes PgBouncer read its configuration and all its certificate files. Clients stay connected, and
// open server connections keep the session they have until they are closed. A file that it cannot use it names only in its log.
//
// RELOAD closes the log, the next line opens it again, and PgBouncer ends when it cannot: at its limit of open files a
// new client may have taken the descriptor in between, and every client would lose its session. So another command goes with
// RELOAD in one write and is answered before PgBouncer accepts the next client. It does nothing but write a line: that the console is not paused.
func (c Console) Reload(ctx context.Context) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the console of PgBouncer: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // PgBouncer notices either way
	if err := reload(ctx, conn); err != nil {
		return fmt.Errorf("RELOAD of PgBouncer: %w", err)
	}
	return nil
}

func reload(ctx context.Context, conn *pgconn.PgConn) error {
	for _, command := range []string{"RELOAD", "RESUME " + consoleName} {
		conn.Frontend().SendQuery(&pgproto3.Query{String: command})
	}
	if err := conn.Frontend().Flush(); err != nil {
		return err
	}
	return awaitAnswer(ctx, conn)
}

// awaitAnswer reads the answer to one command.
func awaitAnswer(ctx context.Context, conn *pgconn.PgConn) error {
	var refusal error
	for {
		message, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch message := message.(type) {
		case *pgproto3.ErrorResponse:
			refusal = pgconn.ErrorResponseToPgError(message)
		case *pgproto3.ReadyForQuery:
			return refusal
		}
	}
}

// How connections with PostgreSQL are replaced.
const (
	recycleLook  = 250 * time.Millisecond
	recycleLimit = 30 * time.Second // what is in use by then goes on, and ends at its usual age
)

// Recycle makes PgBouncer replace each server connection that is open now, once no client uses it, at most three a second for
// each pool. It returns when the idle ones are replaced, or after 30 s.
//
// It lowers server_lifetime for that time and does not say RECONNECT, which is for servers that are gone: it also cuts off
// connections that are just being made, and PgBouncer then takes the server for down and refuses new clients with "server
// login has been failing, cached error: connect string changed" (seen with 1.24.1).
func (c Console) Recycle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recycleLimit)
	defer cancel()
	before, err := c.ShowServers(ctx)
	if err != nil {
		return err
	}
	if _, err := c.command(ctx, "SET server_lifetime = '1'"); err != nil {
		return err
	}
	c.awaitReplaced(ctx, before)
	return c.Reload(context.WithoutCancel(ctx)) // which brings back what the file says
}

// awaitReplaced returns when none of the connections is idle any more, or ctx ends.
func (c Console) awaitReplaced(ctx context.Context, before []Row) {
	for ctx.Err() == nil {
		now, err := c.ShowServers(ctx)
		if err == nil && !idleAmong(before, now) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(recycleLook):
		}
	}
}

// idleAmong reports whether an earlier connection is still open and idle.
func idleAmong(before, now []Row) bool {
	return slices.ContainsFunc(now, func(s Row) bool {
		return s["state"] != "active" && slices.ContainsFunc(before, func(b Row) bool { return b["ptr"] == s["ptr"] && b["connect_time"] == s["connect_time"] })
	})
}

// Ready returns nil when the console answers.
func (c Console) Ready(ctx context.Context) error {
	_, err := c.command(ctx, "SHOW VERSION")
	return err
}

// Row is one line of a SHOW command by column name; NULL is "".
type Row map[string]string

// ShowPools returns SHOW POOLS.
func (c Console) ShowPools(ctx context.Context) ([]Row, error) { return c.command(ctx, "SHOW POOLS") }

// ShowServers returns SHOW SERVERS: connections to PostgreSQL, column tls with version and cipher.
func (c Console) ShowServers(ctx context.Context) ([]Row, error) {
	return c.command(ctx, "SHOW SERVERS")
}

// ShowClients returns SHOW CLIENTS: connections of clients, column tls with version and cipher.
func (c Console) ShowClients(ctx context.Context) ([]Row, error) {
	return c.command(ctx, "SHOW CLIENTS")
}

// ShowConfig returns SHOW CONFIG: columns key, value, default, changeable.
func (c Console) ShowConfig(ctx context.Context) ([]Row, error) { return c.command(ctx, "SHOW CONFIG") }

// command runs one console command, which is never built from input.
func (c Console) command(ctx context.Context, command string) ([]Row, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to the console of PgBouncer: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // PgBouncer notices either way
	// The console knows the simple protocol only.
	results, err := conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s of PgBouncer: %w", command, err)
	}
	var rows []Row
	for _, result := range results {
		rows = append(rows, rowsOf(result)...)
	}
	return rows, nil
}

func (c Console) connect(ctx context.Context) (*pgconn.PgConn, error) {
	// ParseConfig is the only constructor; every field that it takes from the environment is set afterwards.
	config, err := pgconn.ParseConfig("host=/ user=nobody dbname=pgbouncer sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.User, config.Database = c.SocketDir, c.Port, consoleName, consoleName
	config.Password = ""
	config.TLSConfig = nil
	config.Fallbacks = nil
	config.ConnectTimeout = consoleTimeout
	config.RuntimeParams = map[string]string{}
	config.ValidateConnect = nil
	return pgconn.ConnectConfig(ctx, config)
}

func rowsOf(result *pgconn.Result) []Row {
	rows := make([]Row, len(result.Rows))
	for i, values := range result.Rows {
		rows[i] = Row{}
		for j, value := range values {
			rows[i][result.FieldDescriptions[j].Name] = string(value)
		}
	}
	return rows
}
