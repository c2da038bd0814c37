// Package act takes the steps of a plan. Each kind of step has a function of its own, and most a file. What is dangerous wants
// a token: no material is stored without an acceptance, and no authority deleted without a refusal.
package act

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/evidence"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/rotation"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// Executor takes steps.
type Executor struct {
	Client  client.Client
	Applier *kube.Applier
	Events  events.EventRecorder
	Proofs  *evidence.Proofs
	Sweeps  *evidence.Sweeps
	Nudges  *evidence.Nudges
	// EndSessions ends sessions of a PostgreSQL.
	EndSessions SessionEnder
	Now         func() time.Time
}

// Round is one execution of a plan: what was observed, and on top of it what was written since.
type Round struct{ round }

type round struct {
	*Executor
	*snapshot.Snapshot // a copy: what was observed stays as it is

	plan   plan.Plan
	signed map[string]*x509.RevocationList // in this round, by the authority's key
}

// Begin begins to execute a plan that was made from a snapshot.
func (x *Executor) Begin(s *snapshot.Snapshot, decided plan.Plan) *Round {
	copied := *s
	copied.Observed.Parties = slices.Clone(s.Observed.Parties)
	copied.Material = maps.Clone(s.Material)
	copied.Foreign = nil
	for _, a := range s.Foreign {
		anchor := *a
		copied.Foreign = append(copied.Foreign, &anchor)
	}
	return &Round{round{Executor: x, Snapshot: &copied, decided: decided}}
}

// Take takes one step, after every invariant was checked on what is known by then. Errors: ErrLookAgain, *rotation.Violation,
// and those of the API server.
func (r *Round) Take(ctx context.Context, step plan.Step) error {
	v := &r.round
	if step.Op == plan.Activate && step.Revision == "" {
		step.Revision = v.Party(step.Party).Material.Revision
	}
	if violation := invariant.Check(v.Observed, step); violation != nil {
		return fmt.Errorf("refusing %s: %w", step, violation)
	}
	if err := r.take(ctx, step); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// Lane names what a step that fails holds up: the later steps of one party, or of one other object, and no others.
func Lane(step plan.Step) string {
	switch step.Op {
	case plan.Publish, plan.Activate, plan.Discard, plan.EndSessions, plan.Retrigger, plan.Prove:
		return step.Party
	case plan.PublishTrust, plan.Revoke:
		return string(step.Op)
	case plan.AdmitAnchor, plan.NoteUnused, plan.DropAnchor:
		return "Anchors " + string(step.Domain)
	default:
		return "Authority " + string(step.Domain)
	}
}

// Object is what a step writes, as a person would look for it.
func Object(cluster string, step plan.Step) string {
	switch step.Op {
	case plan.Publish, plan.Discard:
		return "Secret " + step.Party
	case plan.Activate, plan.EndSessions, plan.Retrigger, plan.Prove:
		return "pod " + step.Pod
	case plan.PublishTrust:
		return "ConfigMap " + desired.CAConfigMap(cluster)
	case plan.Revoke:
		return "Secret " + desired.ClientCertificateLedger(cluster)
	case plan.AdmitAnchor, plan.NoteUnused, plan.DropAnchor:
		return "Secret " + desired.TrustRecord(cluster)
	default:
		return "Secret " + desired.AuthoritySecret(cluster, string(step.Domain), step.Generation)
	}
}

func (r *Round) take(ctx context.Context, step plan.Step) error {
	v := &r.round
	switch step.Op {
	case plan.CreateAuthority, plan.TrustNew:
		return createAuthority(ctx, v, step)
	case rotation.CopyAuthority:
		return copyAuthority(ctx, v, step)
	case plan.RestoreAuthority:
		return restoreAuthority(ctx, v, step)
	case rotation.ReleaseAuthority:
		return releaseAuthority(ctx, v, step)
	case plan.SwitchSigner, plan.RollBack, plan.DropOld:
		return mark(ctx, v, step)
	case plan.DiscardAuthority:
		proof, err := r.Refused(ctx, r.Authority(step.Domain, step.Generation))
		if err != nil {
			return err
		}
		return r.DiscardAuthority(ctx, step, proof)
	case plan.AdmitAnchor, plan.NoteUnused, plan.DropAnchor:
		return note(ctx, v, step)
	case plan.PublishTrust:
		return publishTrust(ctx, v)
	case plan.Publish:
		return publish(ctx, v, step)
	case plan.Activate:
		return activate(ctx, v, step)
	case plan.Discard:
		return v.Applier.Delete(ctx, v.Material[step.Party])
	case plan.Revoke:
		return revoke(ctx, v, step)
	case plan.EndSessions:
		return sweep(ctx, v, step)
	case plan.Retrigger:
		return nudge(ctx, v, step)
	case plan.Prove:
		return prove(ctx, v, step)
	}
	return fmt.Errorf("unknown operation %s", step.Op)
}
