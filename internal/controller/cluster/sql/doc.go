// Package sql makes roles, databases and grants of a PostgresCluster what its spec says: what differs is computed from PostgreSQL's catalogs,
// so that at rest nothing is written.
package sql
