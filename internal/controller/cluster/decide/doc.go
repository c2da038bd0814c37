// Package decide holds the decisions of the cluster controller: which instance is replaced, restarted or removed next, which spec cannot
// work, and the closed set of reasons. Its functions compute; Restarts alone
// remembers something from one round to the next.
package decide
