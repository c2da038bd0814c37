package main

import (
	"context"
	"sync"
	"time"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// connectOptions say how hard to try.
type connectOptions struct {
	rates   rates
	timeout time.Duration // of one attempt
}

// rates are connections per second and target; 0 is none.
type rates struct{ pgx, psql, pgbench float64 }

// inFlight bounds the attempts of one client on one target at a time: a target that hangs gets no pile of them.
const inFlight = 4

// totalsEvery is how often the figures are printed.
const totalsEvery = 5 * time.Second

// An attempt opens a new connection, runs a query in it and closes it.
type attempt func(context.Context, target) error

// runConnect keeps connecting until ctx ends. Attempts that have begun are finished and counted.
func runConnect(ctx context.Context, a account, targets []target, o connectOptions, out *printer) error {
	if _, err := a.environment(o.timeout); err != nil {
		return err
	}
	counted := newTally(out)
	var workers sync.WaitGroup
	for _, t := range targets {
		workers.Go(func() { keepTrying(ctx, t, "pgx", o.rates.pgx, withTimeout(o.timeout, byPgx(a, o.timeout)), counted) })
		workers.Go(func() {
			keepTrying(ctx, t, "psql", o.rates.psql, withTimeout(o.timeout, byPsql(a, o.timeout)), counted)
		})
		workers.Go(func() { keepBenching(ctx, t, o, a, counted) })
	}
	out.print(record.Line{Kind: record.Started})
	stopPrinting := printTotals(counted, out)
	workers.Wait()
	stopPrinting()
	out.print(record.Line{Kind: record.Totals, Counts: counted.totals(), Final: true})
	return nil
}

// keepTrying makes rate attempts per second until ctx ends, then waits for those that have begun.
func keepTrying(ctx context.Context, t target, client string, rate float64, try attempt, counted *tally) {
	if rate <= 0 {
		return
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer ticker.Stop()
	slots := make(chan struct{}, inFlight)
	var begun sync.WaitGroup
	defer begun.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		begun.Go(func() {
			defer func() { <-slots }()
			// Stopping must not look like a failure, so the attempt does not hear of it.
			if err := try(context.WithoutCancel(ctx), t); err != nil {
				counted.add(t.name, client, 1, err)
				return
			}
			counted.add(t.name, client, 1)
		})
	}
}

func withTimeout(limit time.Duration, try attempt) attempt {
	return func(ctx context.Context, t target) error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return try(ctx, t)
	}
}

// printTotals prints the figures now and then until the returned function is called.
func printTotals(counted *tally, out *printer) (stop func()) {
	done := make(chan struct{})
	var printing sync.WaitGroup
	printing.Go(func() {
		ticker := time.NewTicker(totalsEvery)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				out.print(record.Line{Kind: record.Totals, Counts: counted.totals()})
			}
		}
	})
	return func() { close(done); printing.Wait() }
}
