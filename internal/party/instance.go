package party

import "pgtls.dev/pgtls/internal/agentapi"

// What Kubernetes calls an instance's pods and the container of its PostgreSQL.
const (
	InstanceComponent = "instance"
	DatabaseContainer = "database"
)

// Instance is a PostgreSQL under Patroni, in a pod of its own. As a server it serves clients, as a client it replicates from the
// primary. Any instance may become the primary, so each has the names of the primary.
var Instance = &Kind{
	Name:    "instance",
	Members: EachInstance,
	Leaves: []Leaf{
		{Domain: Server, Names: Names{Pod: true, Services: []Service{ToPrimary, ToReplicas}}, Policy: ServerInstances},
		{Domain: Client, Identity: agentapi.ReplicationIdentity, Policy: ClientReplication},
	},
	Files: Mounted,
	Process: &Process{
		Program: PostgreSQL, Component: InstanceComponent, Container: DatabaseContainer, Log: agentapi.PostgresLog, LogHere: true, Patroni: true,
		Ports: []Port{
			{Name: "patroni", Number: agentapi.PatroniPort, Protocol: HTTPS},
			{Name: "postgres", Number: agentapi.PostgresPort, Protocol: SSLRequest, OfProcess: true, Login: true},
		},
	},
	Stage:                StageReplicas,
	AuthenticatesClients: true,
}
