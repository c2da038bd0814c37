package party

import "pgtls.dev/pgtls/internal/agentapi"

// What Kubernetes calls a pooler's pods and the container of its PgBouncer.
const (
	PoolerComponent = "pgbouncer"
	PoolerContainer = "pgbouncer"
)

// Pooler is PgBouncer. All its pods are one party with one leaf, since one Service leads to them. Its clients log in by password, and
// PostgreSQL sees PgBouncer's own client leaf.
var Pooler = &Kind{
	Name:    "pooler",
	Members: Poolers,
	Leaves: []Leaf{
		{Domain: Server, Names: Names{Services: []Service{ToPoolers}}, Policy: ServerPGBouncer},
		{Domain: Client, Identity: agentapi.PGBouncerIdentity, Policy: ClientPGBouncer},
	},
	Files: Mounted,
	Process: &Process{
		Program: PgBouncer, Component: PoolerComponent, Container: PoolerContainer, Log: agentapi.PGBouncerLog, ReadyHere: true,
		Ports: []Port{{Name: "pgbouncer", Protocol: Pooled, OfProcess: true}},
	},
	Stage: StagePoolers,
}
