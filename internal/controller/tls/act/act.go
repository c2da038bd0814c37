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
	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/rotation/invariant"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// Executor takes steps.
type Executor struct {
	Client       client.Client
	Applier      *kube.Applier
	Events       events.EventRecorder
	Proofs       *evidence.Proofs
	Terminations *evidence.Terminations
	Retriggers   *evidence.Retriggers
	Memory       *material.Memory
	// Unstored are certificates of applications.
	Unstored Unstored
	// Written are the own writes.
	Written Written
	// Issued is what is still to be told.
	Issued Issued
	// Verdicts on Secrets, also on those that were written just now.
	Verdicts *material.Verdicts
	// EndSessions ends sessions of a PostgreSQL.
	EndSessions SessionEnder
	Now         func() time.Time
}

// Round is one execution of a plan: what was observed, and on top of it what was written since.
type Round struct{ round }

type round struct {
	*Executor
	*snapshot.Snapshot // a copy: what was observed stays as it is

	signed map[string]*x509.RevocationList // in this round, by the authority's key
}

// Begin begins to execute a plan that was made from a snapshot.
func (x *Executor) Begin(s *snapshot.Snapshot) *Round {
	copied := *s
	copied.Observed.Parties = slices.Clone(s.Observed.Parties)
	copied.Material = maps.Clone(s.Material)
	copied.External = nil
	for _, a := range s.External {
		anchor := *a
		copied.External = append(copied.External, &anchor)
	}
	return &Round{round{Executor: x, Snapshot: &copied}}
}

// Take takes one step, after every invariant was checked on what is known by then. Errors: ErrLookAgain, *Error,
// *invariant.Violation, *kube.OwnershipError, and those of the API server.
func (r *Round) Take(ctx context.Context, step plan.Step) error {
	if activate, ok := step.(plan.Activate); ok && activate.Revision == "" {
		activate.Revision = r.Party(activate.Party).Material.Revision
		step = activate
	}
	if violation := invariant.Check(&r.Observed, step); violation != nil {
		return fmt.Errorf("refusing %s: %w", step, violation)
	}
	if err := r.take(ctx, step); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

func (r *Round) take(ctx context.Context, step plan.Step) error {
	v := &r.round
	switch s := step.(type) {
	case plan.CreateAuthority:
		return createAuthority(ctx, v, plan.TrustNew{Domain: s.Domain, Generation: s.Generation, Reason: s.Reason})
	case plan.TrustNew:
		return createAuthority(ctx, v, s)
	case plan.RestoreAuthority:
		return restoreAuthority(ctx, v, s)
	case plan.TakeBack:
		return takeBack(ctx, v, s)
	case plan.SwitchSigner:
		return switchSigner(ctx, v, s)
	case plan.RollBack:
		return rollBack(ctx, v, s)
	case plan.DropOld:
		return dropOld(ctx, v, s)
	case plan.DiscardAuthority:
		proof, err := r.Refused(ctx, r.Authority(s.Domain, s.Generation))
		if err != nil {
			return err
		}
		return r.DiscardAuthority(ctx, s, proof)
	case plan.AdmitAnchor:
		return admitAnchor(ctx, v, s)
	case plan.NoteUnused:
		return noteUnused(ctx, v, s)
	case plan.DropAnchor:
		return dropAnchor(ctx, v, s)
	case plan.PublishTrust:
		return publishTrust(ctx, v, s)
	default:
		return r.takeOfParty(ctx, step)
	}
}

// takeOfParty takes the steps that are about one party or pod.
func (r *Round) takeOfParty(ctx context.Context, step plan.Step) error {
	v := &r.round
	switch s := step.(type) {
	case plan.Publish:
		return publish(ctx, v, s)
	case plan.Discard:
		return v.Applier.Delete(ctx, v.Material[s.Party])
	case plan.Activate:
		return activate(ctx, v, s)
	case plan.Retrigger:
		return retrigger(ctx, v, s)
	case plan.Prove:
		return prove(ctx, v, s)
	case plan.Revoke:
		return revoke(ctx, v, s)
	case plan.EndSessions:
		return endSessions(ctx, v, s)
	}
	return fmt.Errorf("unknown operation %s", step.Op())
}
