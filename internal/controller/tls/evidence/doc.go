// Package evidence gathers what can be seen of pods: the reports of their agents, which it follows, the operator's own
// handshakes with their ports, which it remembers, and how it connects with PostgreSQL. It decides nothing, and knows no
// Kubernetes client.
package evidence
