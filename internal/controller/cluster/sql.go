package cluster

import (
	"context"
	"crypto/tls"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/postgres"
)

// Database connects as the operator's role.
func (wire) Database(ctx context.Context, host, name string, config *tls.Config) (database, error) {
	config = config.Clone()
	config.ServerName = host
	conn, err := postgres.Connect(ctx, postgres.Server{Host: host, User: agentapi.OperatorIdentity, Database: name, TLS: config})
	if err != nil {
		return nil, err // a nil *Conn in a database would not be nil
	}
	return conn, nil
}
