package party

import "pgtls.dev/pgtls/internal/agentapi"

// Operator is pgtls itself, towards one cluster: it logs in to PostgreSQL and asks agents, and verifies both domains to prove what
// pods serve.
var Operator = &Kind{
	Name:    "operator",
	Members: One,
	Leaves:  []Leaf{{Domain: Client, Identity: agentapi.OperatorIdentity, Policy: ClientOperator}},
	Files:   own,
	Stage:   StageAlone,
}
