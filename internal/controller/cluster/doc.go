// Package cluster makes the objects of a PostgresCluster what its spec says: it applies what internal/desired renders,
// replaces instances one by one, and makes users and databases.
//
// A reconciliation is a list of steps with one status write at the end. What a step waits for is a value and no error, and the
// error of one step stops no other.
//
// What was observed is in observe.go, and no step changes it; asker.go asks Patroni. The packages below decide (decide), say why a pod is
// missing (denial), talk to PostgreSQL (sql) and Patroni (ha), and keep what failed (attempt). writer.go writes objects, executor.go acts on
// one instance, report.go makes the status.
package cluster
