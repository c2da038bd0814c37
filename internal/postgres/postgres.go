// Package postgres is what pgtls asks of PostgreSQL in SQL.
//
// It speaks through pgconn alone: the agent beside every PostgreSQL links this package and has to stay small.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Server is where and as whom to connect.
type Server struct {
	Host     string // a name, an address, or the directory of the Unix socket
	Port     uint16 // 0 means 5432
	User     string
	Database string
	TLS      *tls.Config // nil over a Unix socket, where peer authentication applies; required otherwise
}

const (
	defaultPort    = 5432
	connectTimeout = 5 * time.Second
	localSuperuser = "postgres"
)

// Conn is one connection. It is not safe for concurrent use.
type Conn struct{ raw *pgconn.PgConn }

// Connect opens a connection. Nothing in the environment (PGHOST, PGSSLMODE, ~/.pgpass, ...) changes where it leads.
//
// Errors: those of pgconn; a *pgconn.PgError carries the SQLSTATE.
func Connect(ctx context.Context, server Server) (*Conn, error) {
	config, err := server.config()
	if err != nil {
		return nil, err
	}
	raw, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), err)
	}
	return &Conn{raw}, nil
}

func (s Server) config() (*pgconn.Config, error) {
	if s.TLS == nil && (s.Host == "" || s.Host[0] != '/') {
		return nil, fmt.Errorf("connecting to %q: no TLS configuration and not a directory of Unix sockets", s.Host)
	}
	// ParseConfig is the only constructor; every field that it takes from the environment is set afterwards.
	config, err := pgconn.ParseConfig("host=/ user=nobody dbname=postgres sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, fmt.Errorf("making connection settings: %w", err)
	}
	config.Host, config.Port, config.User, config.Database = s.Host, s.Port, s.User, s.Database
	if config.Port == 0 {
		config.Port = defaultPort
	}
	config.Password = ""
	config.TLSConfig = s.TLS
	config.Fallbacks = nil
	config.ConnectTimeout = connectTimeout
	config.RuntimeParams = map[string]string{"application_name": "pgtls"}
	config.ValidateConnect = nil
	return config, nil
}

// Close ends the connection. It is safe to call more than once.
func (c *Conn) Close(ctx context.Context) { _ = c.raw.Close(ctx) } // the server notices either way

// Query runs one statement with parameters as text and returns the rows as text; NULL is "".
func (c *Conn) Query(ctx context.Context, sql string, args ...string) ([][]string, error) {
	parameters := make([][]byte, len(args))
	for i, arg := range args {
		parameters[i] = []byte(arg)
	}
	result := c.raw.ExecParams(ctx, sql, parameters, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, result.Err
	}
	rows := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		for _, value := range row {
			rows[i] = append(rows[i], string(value))
		}
	}
	return rows, nil
}

// Local is the server of this pod, seen through its Unix socket. Each call opens a connection and closes it.
type Local struct {
	SocketDir string
	Port      uint16 // which names the socket
}

// Reload makes the server read its configuration, certificates included. It returns before the server
// has done so (about 10 ms), and a server that cannot use the new files says so only in its log: look at the wire.
func (l Local) Reload(ctx context.Context) error {
	rows, err := l.query(ctx, "SELECT pg_reload_conf()")
	if err != nil {
		return fmt.Errorf("reloading PostgreSQL: %w", err)
	}
	if len(rows) != 1 || rows[0][0] != "t" {
		return errors.New("reloading PostgreSQL: the signal could not be sent to the postmaster")
	}
	return nil
}

// Ready returns nil when the server answers.
func (l Local) Ready(ctx context.Context) error {
	if _, err := l.query(ctx, "SELECT 1"); err != nil {
		return fmt.Errorf("asking PostgreSQL: %w", err)
	}
	return nil
}

func (l Local) query(ctx context.Context, sql string) ([][]string, error) {
	conn, err := Connect(ctx, Server{Host: l.SocketDir, Port: l.Port, User: localSuperuser, Database: "postgres"})
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.Query(ctx, sql)
}
