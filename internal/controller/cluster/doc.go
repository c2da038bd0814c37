// Package cluster makes the objects of a PostgresCluster what its spec says: it applies what internal/desired renders,
// replaces instances one by one, and makes users and databases.
//
// A reconciliation is a list of steps with one status write at the end. What a step waits for is a value and no error, and the
// error of one step stops no other.
package cluster
