package cluster

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"pgtls.dev/pgtls/internal/agentapi"
)

// Database connects as the operator's role. Nothing in the environment changes where it leads.
func (wire) Database(ctx context.Context, host, name string, config *tls.Config) (database, error) {
	settings, err := pgconn.ParseConfig("host=/ user=nobody dbname=postgres sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, fmt.Errorf("making connection settings: %w", err)
	}
	config = config.Clone()
	config.ServerName = host
	settings.Host, settings.Port, settings.User, settings.Database = host, agentapi.PostgresPort, agentapi.OperatorIdentity, name
	settings.TLSConfig, settings.Password, settings.Fallbacks = config, "", nil
	settings.ConnectTimeout = readTimeout
	settings.RuntimeParams = map[string]string{"application_name": "pgtls"}
	raw, err := pgconn.ConnectConfig(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", host, err)
	}
	return sqlConnection{raw}, nil
}

type sqlConnection struct{ raw *pgconn.PgConn }

// Query runs one statement.
func (c sqlConnection) Query(ctx context.Context, sql string, args ...string) ([][]string, error) {
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

// Close ends the connection.
func (c sqlConnection) Close(ctx context.Context) { _ = c.raw.Close(ctx) } // the server notices either way
