// Package party says what each kind of party is, one file for each kind: which leaves it has, with which names and usages, under
// which keys of its Secret they stand, how its process takes them, where they are proven, and its place in a rollout. The rest of
// pgtls asks a Kind and never compares one, so that a new kind is one more file here (and its workload in internal/desired).
//
// The package is data. It links no Kubernetes package and does no I/O, since the decision and the agent use it too.
package party

// Kinds are all of them, in the order of a rollout.
func Kinds() []*Kind { return []*Kind{Operator, Application, Instance, Pooler} }

// Named returns the kind of that name, nil when there is none.
func Named(name string) *Kind {
	for _, k := range Kinds() {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// OfComponent returns the kind whose pods have that value of the label pgtls.dev/component, nil when there is none.
func OfComponent(component string) *Kind {
	for _, k := range Kinds() {
		if k.Process != nil && k.Process.Component == component {
			return k
		}
	}
	return nil
}

// Kind is a kind of party.
type Kind struct {
	Name    string // as in messages, flags and reports of agents
	Members Members
	Leaves  []Leaf
	Files   Files
	Process *Process // beside an agent, in pods; nil: the kind has no pods
	Stage   Stage    // of its pods, but for a primary

	// AuthenticatesClients: its process lets clients in by their certificates. So it reads revocation lists, and its sessions show
	// by which certificate each came.
	AuthenticatesClients bool
	// InLedger: each of its leaves is entered in the ledger of issued certificates before it is stored. What it presents cannot be
	// seen, since its Secret may have been copied: a copy is accepted until it ends or is revoked.
	InLedger bool
}

func (k *Kind) String() string { return k.Name }

// Verifies reports whether a party of the kind holds a bundle of a domain.
func (k *Kind) Verifies(domain Domain) bool { return k.Files.Bundle(domain) != "" }

// Leaf returns what leaf of a domain the kind has, nil when it has none.
func (k *Kind) Leaf(domain Domain) *Leaf {
	for i := range k.Leaves {
		if k.Leaves[i].Domain == domain {
			return &k.Leaves[i]
		}
	}
	return nil
}

// Members says which parties of a kind a cluster has.
type Members string

// Which parties of a kind a cluster has.
const (
	One          Members = "One"          // the cluster itself has one
	EachInstance Members = "EachInstance" // every instance of spec.instances is one
	Poolers      Members = "Poolers"      // all poolers of spec.proxy.pgBouncer are one
	EachUser     Members = "EachUser"     // every user with spec.users[].clientCertificate is one
)

// Leaf is a leaf that every party of a kind has.
type Leaf struct {
	Domain   Domain
	Identity string // the common name; empty: the workload's name, and of a user's leaf the user's
	Names    Names
	Policy   Policy
}

// Names are what the subject alternative names of a leaf are made of, besides what the spec adds.
type Names struct {
	Pod      bool      // the pod's own name, as the headless Service has it
	Services []Service // each under every name and address that leads to it
}

// Service is a Service of a cluster, by what it leads to.
type Service string

// The Services that lead to parties.
const (
	ToPrimary  Service = "primary"
	ToReplicas Service = "replicas"
	ToPoolers  Service = "poolers"
)

// Policy is the field of the spec that gives a leaf's life and key.
type Policy string

// The fields of the spec, below spec.tls but for the last.
const (
	ServerInstances   Policy = "server.instances"
	ServerPGBouncer   Policy = "server.pgbouncer"
	ClientOperator    Policy = "client.operator"
	ClientReplication Policy = "client.replication"
	ClientPGBouncer   Policy = "client.pgbouncer"
	UserCertificate   Policy = "users[].clientCertificate"
)

// Stage is a place in the order of a rollout.
type Stage int

// The stages. The canary is the first of the replicas.
const (
	StageAlone    Stage = iota // has no pod, and waits for none
	StageReplicas              // an instance counts as a replica unless it is seen to be the primary
	StagePoolers
	StagePrimary
)
