package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/test/loadgen/record"
)

func TestKeepTryingKeepsItsRateAndCountsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		counted := newTally(newPrinter(&out))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		attempts := 0
		keepTrying(ctx, target{name: "primary"}, "pgx", 2, func(context.Context, target) error {
			if attempts++; attempts == 3 {
				return errors.New("certificate verify failed")
			}
			return nil
		}, counted)
		if diff := cmp.Diff(record.Counts{"primary pgx": {Tried: 20, Failed: 1}}, counted.totals()); diff != "" {
			t.Errorf("totals (-want +got):\n%s", diff)
		}
		var failures []string
		if err := record.Each(&out, func(l record.Line) { failures = append(failures, l.Error) }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"certificate verify failed"}, failures); diff != "" {
			t.Errorf("failure lines (-want +got):\n%s", diff)
		}
	})
}

func TestStoppingIsNoFailureForAnAttemptThatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := newTally(newPrinter(&bytes.Buffer{}))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		keepTrying(ctx, target{name: "primary"}, "pgx", 1, func(ctx context.Context, _ target) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Second):
				return nil
			}
		}, counted)
		if diff := cmp.Diff(record.Count{Tried: 1}, counted.totals().Sum()); diff != "" {
			t.Errorf("sum (-want +got):\n%s", diff)
		}
	})
}

func TestATargetThatHangsGetsABoundedNumberOfAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := newTally(newPrinter(&bytes.Buffer{}))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		keepTrying(ctx, target{name: "primary"}, "pgx", 10,
			withTimeout(time.Minute, func(ctx context.Context, _ target) error { <-ctx.Done(); return ctx.Err() }), counted)
		if got := counted.totals().Sum(); got.Tried != inFlight || got.Failed != inFlight {
			t.Errorf("sum = %+v, want %d attempts that all failed", got, inFlight)
		}
	})
}

func TestParseTargets(t *testing.T) {
	got, err := parseTargets([]string{"primary=hippo-primary.demo.svc:5432"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (target{name: "primary", host: "hippo-primary.demo.svc", port: "5432"}); len(got) != 1 || got[0] != want {
		t.Errorf("targets = %+v, want %+v", got, want)
	}
	for _, bad := range []string{"hippo:5432", "=hippo:5432", "primary=hippo"} {
		if _, err := parseTargets([]string{bad}); err == nil {
			t.Errorf("no error for target %q", bad)
		}
	}
}
