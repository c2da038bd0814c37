package sql

import (
	"context"
	"crypto/tls"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/postgres"
)

// Database is one connection.
type Database interface {
	// Query returns rows as text; NULL is "".
	Query(ctx context.Context, sql string, args ...string) ([][]string, error)
	Close(context.Context)
}

// Connect connects to the database of a name as the operator's role. The caller closes the connection.
func Connect(ctx context.Context, host, name string, config *tls.Config) (Database, error) {
	config = config.Clone()
	config.ServerName = host
	conn, err := postgres.Connect(ctx, postgres.Server{Host: host, User: agentapi.OperatorIdentity, Database: name, TLS: config})
	if err != nil {
		return nil, err // a nil *Conn in a Database would not be nil
	}
	return conn, nil
}
