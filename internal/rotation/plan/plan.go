package plan

import (
	"time"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/reason"
)

// Plan is the decision: what to do now, what it waits for, and when to look again.
//
// Keep, the lanes and the transition are independent of each other: the executor takes all of Keep, then each lane, then the
// transition, whatever fails on the way. What must come before what is a gate on observed facts and never the order of a list.
type Plan struct {
	State State
	// Keep are the steps that restore what must not get lost. Nothing holds them up.
	Keep []Step
	// Lanes are what is done for one party or pod each.
	Lanes []Lane
	// Transition changes what is trusted or which authority is active; nil: nothing does.
	Transition Step
	// Blockers: what the rotation waits for.
	Blockers []Blocker
	// Wake is the exact time at which the plan changes by itself; zero if it never does.
	Wake time.Time
	// NextRenewal is when the next leaf becomes due; zero if none will.
	NextRenewal time.Time
	// Active are the generations that sign leaves; 0: none can.
	Active PerDomain[int]
	// Rekeys that are under way, by domain.
	Rekeys []Rekey
	// Adoptions of custom certificates that are under way.
	Adoptions []Adoption
}

// Lane are the steps for one party or one pod, in their order. One that fails ends its lane alone.
type Lane struct {
	Of    string // the party or the pod
	Steps []Step
}

// Steps returns every step, in the order of execution.
func (p *Plan) Steps() []Step {
	steps := append([]Step(nil), p.Keep...)
	for i := range p.Lanes {
		steps = append(steps, p.Lanes[i].Steps...)
	}
	if p.Transition != nil {
		steps = append(steps, p.Transition)
	}
	return steps
}

// Empty reports whether there is no step.
func (p *Plan) Empty() bool { return len(p.Keep) == 0 && len(p.Lanes) == 0 && p.Transition == nil }

// State of a cluster's certificates, derived from what was observed.
type State string

// The states.
const (
	Steady   State = "Steady"   // everything is as wanted and proven
	Renewing State = "Renewing" // there are steps to execute
	Waiting  State = "Waiting"  // there is something to do, and it waits
)

// PerDomain holds one value for each trust domain.
type PerDomain[T any] struct{ Server, Client T }

// Of returns the value of a domain.
func (p *PerDomain[T]) Of(domain facts.Domain) T {
	if domain == facts.Server {
		return p.Server
	}
	return p.Client
}

// Set replaces the value of a domain.
func (p *PerDomain[T]) Set(domain facts.Domain, value T) {
	if domain == facts.Server {
		p.Server = value
	} else {
		p.Client = value
	}
}

// Rekey is the change from one authority to another, as it stands.
type Rekey struct {
	Domain   facts.Domain
	Phase    Phase
	From, To int // generations
	// AffectedClients says which clients are refused, where that cannot be helped; "" when none is.
	AffectedClients string
}

// Phase of a re-key, derived from what was observed.
type Phase string

// The phases.
const (
	Preparing   Phase = "Preparing"   // the new authority is being trusted everywhere, and signs nothing yet
	Reissuing   Phase = "Reissuing"   // it is active; leaf after leaf is replaced
	Soaking     Phase = "Soaking"     // nothing that is stored or served is the old one's, which stays trusted for a while
	Retiring    Phase = "Retiring"    // the old one is being dropped from every bundle
	RollingBack Phase = "RollingBack" // the new one was rolled back; leaf after leaf is the old one's again
)

// Adoption is the change of what the processes of one kind present, as far as it has not happened yet.
type Adoption struct {
	Kind   *facts.Kind
	Domain facts.Domain
	// To is the content that is wanted; "": the parties' own leaves.
	To string
	// AffectedClients says which clients are refused afterwards, where that can be known; "" when none is.
	AffectedClients string
}

// Blocker says what the rotation waits for, and why.
type Blocker struct {
	Party   string // a pod, a Secret or a domain's authority
	Reason  reason.Code
	Message string // the fact and the remedy

	Domain  facts.Domain // that it is about, "" where it is about none or both
	Content string       // of the custom certificate that it is about
}
