package cluster

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/memo"
)

// A round is one reconciliation: what its steps look at, and what they act through. What was observed is never changed by a step.
type round struct {
	seen   observed // of the API server, at the start
	ha     *asker   // what Patroni says, asked for once
	ledger *attempt.Ledger

	objects   *writer
	instances *executor
	events    teller
	connect   connector
	denials   denials
	random    io.Reader

	credentials *memo.Credentials
	renderings  *memo.Renderings

	leftovers bool                      // an earlier cluster is still going away
	cleared   map[string]bool           // ConfigMaps of an earlier cluster that were deleted
	secrets   map[string]*corev1.Secret // of users, as they were written
}

func (r *round) run(ctx context.Context) outcome {
	if problem := decide.Refusal(r.seen.cluster, r.seen.settings); problem != nil {
		return outcome{waits: []decide.Wait{*problem}}
	}
	var waits []decide.Wait
	for _, step := range steps() {
		waits = append(waits, r.runStep(ctx, step)...)
		if r.ledger.IsLeaving() {
			break
		}
	}
	return outcome{waits: waits, failures: r.ledger.Failures(), conflict: r.ledger.IsConflict(), wrote: r.objects.wrote, leaving: r.ledger.IsLeaving()}
}

// runStep runs a step unless one that it needs failed, or it failed a moment ago itself.
func (r *round) runStep(ctx context.Context, s step) []decide.Wait {
	for _, need := range s.needs {
		if r.ledger.HasFailed(need) {
			return []decide.Wait{{Party: s.name, Reason: decide.AwaitingStep, Message: fmt.Sprintf("the step %q has to succeed first", need)}}
		}
	}
	var waits []decide.Wait
	r.ledger.Step(ctx, s.name, func() error {
		var err error
		waits, err = s.run(ctx, r)
		return err
	})
	return waits
}
