package party

import "pgtls.dev/pgtls/internal/agentapi"

// Process is what runs beside an agent and serves a party's leaf.
type Process struct {
	Program   Program
	Component string // value of the label pgtls.dev/component of its pods
	Container string
	Log       string // the file that it logs to and the agent reads

	// LogHere: no other container shows its log, so the agent copies it to its own output.
	LogHere bool
	// ReadyHere: whether it is ready is asked of the agent. Of PostgreSQL it is asked of Patroni.
	ReadyHere bool
	// Patroni runs beside it, and the agent terminates TLS for its REST API.
	Patroni bool

	Ports []Port // that serve the leaf, besides the agent's own
}

// Program says how a process is told to take new files and what its log says. internal/agent has one implementation for each.
type Program string

// The programs.
const (
	PostgreSQL Program = "postgres"  // reloads by pg_reload_conf()
	PgBouncer  Program = "pgbouncer" // reloads by RELOAD on its console
)

// Port of a pod that serves the party's server leaf and is proven by a handshake.
type Port struct {
	Name     string
	Number   uint16 // 0: the spec sets it
	Protocol Protocol
	// OfProcess: the process itself serves it, so it counts once its container is ready.
	OfProcess bool
	// Login: the proof goes on to a log-in as the operator, so that the client domain is proven too.
	Login bool
}

// Protocol is how a port comes to TLS; the names are those of internal/probe.
type Protocol string

// The protocols.
const (
	SSLRequest Protocol = "postgres"
	Pooled     Protocol = "pgbouncer" // an SSLRequest too
	HTTPS      Protocol = "https"     // TLS at once
)

// AgentPort is the port of every pod's agent.
func AgentPort() Port { return Port{Name: "agent", Number: agentapi.AgentPort, Protocol: HTTPS} }
