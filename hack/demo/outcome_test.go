package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/test/harness"
	"pgtls.dev/pgtls/test/loadgen/record"
	"pgtls.dev/pgtls/test/platform"
)

func goodOutcome() *outcome {
	written := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	deliver := func(pod string, at int, took time.Duration) harness.Delivery {
		w := written.Add(time.Duration(at) * time.Second)
		return harness.Delivery{Pod: pod, Written: w, Served: w.Add(took)}
	}
	return &outcome{
		before: map[string]string{"hippo-00-0-0": "3f2a9c0d11e24b7f90aa", "hippo-pgbouncer-5d8f-x2lq9": "77aa"},
		after:  map[string]string{"hippo-00-0-0": "91bc6d2200ff41c0b1d2", "hippo-pgbouncer-5d8f-x2lq9": "08ef"},
		deliveries: []harness.Delivery{
			deliver("hippo-00-0-0", 0, 231*time.Millisecond), deliver("hippo-pgbouncer-5d8f-x2lq9", 1, 218*time.Millisecond),
			deliver("hippo-00-0-0", 9, 1104*time.Millisecond), deliver("hippo-pgbouncer-5d8f-x2lq9", 10, 240*time.Millisecond),
		},
		counts: record.Counts{"pgbouncer pgx": {Tried: 412}, "pgbouncer psql": {Tried: 25}, "primary pgbench": {Tried: 96}},
		opened: 18, streams: 2,
	}
}

func TestOutcomeAsTable(t *testing.T) {
	var got bytes.Buffer
	goodOutcome().print(&got)
	golden := filepath.Join("testdata", "outcome.txt")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestVerdict(t *testing.T) {
	if err := goodOutcome().verdict(); err != nil {
		t.Errorf("a good outcome is called broken: %v", err)
	}
	tests := map[string]struct {
		spoil func(*outcome)
		says  string
	}{
		"a connection failed":     {func(o *outcome) { o.counts["primary psql"] = record.Count{Tried: 10, Failed: 1} }, "1 of 543 connections failed"},
		"nothing was tried":       {func(o *outcome) { o.counts = nil }, "0 of 0 connections"},
		"a session was lost":      {func(o *outcome) { o.lost = []harness.Failure{{Target: "primary"}} }, "1 of 18 sessions"},
		"replication reconnected": {func(o *outcome) { o.interrupted = "-pid 12\n+pid 99" }, "replication was interrupted"},
		"nothing replicates":      {func(o *outcome) { o.streams = 0 }, "replication was interrupted"},
		"a pod kept its old leaf": {func(o *outcome) { o.after["hippo-00-0-0"] = o.before["hippo-00-0-0"] }, "hippo-00-0-0 still serves"},
		"a pod serves no more":    {func(o *outcome) { o.before["gone"], o.after["gone"] = "", "" }, "gone still serves"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := goodOutcome()
			test.spoil(o)
			if err := o.verdict(); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("verdict = %v, want one that says %q", err, test.says)
			}
		})
	}
}

func TestWhatToTryNext(t *testing.T) {
	t.Setenv(platform.ContextVariable, "")
	var kept, gone bytes.Buffer
	printNext(&kept, platform.New("/pgtls"), true)
	printNext(&gone, platform.New("/pgtls"), false)
	if !strings.Contains(kept.String(), "/pgtls/bin/devcluster exec -- kubectl -n pgtls-demo get postgrescluster") {
		t.Errorf("a kept cluster comes without a command to look at it:\n%s", kept.String())
	}
	if strings.Contains(gone.String(), "kubectl") {
		t.Errorf("a command for a cluster that is gone:\n%s", gone.String())
	}
}
