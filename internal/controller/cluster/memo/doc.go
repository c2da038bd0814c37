// Package memo remembers what the cluster controller would work out again in each reconciliation of the same cluster.
package memo
