package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const wholeRun = `pgbench (17.6)
transaction type: /dev/stdin
scaling factor: 1
query mode: simple
number of clients: 1
number of threads: 1
maximum number of tries: 1
duration: 5 s
number of transactions actually processed: 52
number of failed transactions: 0 (0.000%)
latency average = 8.114 ms
average connection time = 7.404 ms
tps = 10.41 (including reconnection times)
`

const brokenRun = `transaction type: /dev/stdin
number of transactions actually processed: 17
number of failed transactions: 0 (0.000%)
`

const brokenRunComplaints = `pgbench: error: connection to server at "c-primary" (10.96.0.7), port 5432 failed: SSL error: certificate verify failed
pgbench: error: client 0 aborted while establishing connection
pgbench: error: Run was aborted due to an error in thread 0
pgbench: error: Run was aborted; the above results are incomplete.
`

func TestParseBench(t *testing.T) {
	tests := map[string]struct {
		stdout, stderr string
		processed      int
		errors         []string
	}{
		"every connection stood": {stdout: wholeRun, processed: 52},
		"a connection failed: counted once, with its own error": {
			stdout: brokenRun, stderr: brokenRunComplaints, processed: 17,
			errors: []string{`pgbench: error: connection to server at "c-primary" (10.96.0.7), port 5432 failed: SSL error: certificate verify failed`},
		},
		"transactions failed without a complaint": {
			stdout: "number of transactions actually processed: 5\nnumber of failed transactions: 2 (28.571%)\n", processed: 5,
			errors: []string{"pgbench: a transaction failed", "pgbench: a transaction failed"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseBench(test.stdout, test.stderr)
			if err != nil {
				t.Fatal(err)
			}
			if got.processed != test.processed {
				t.Errorf("processed = %d, want %d", got.processed, test.processed)
			}
			if diff := cmp.Diff(test.errors, got.errors); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseBenchRefusesOutputWithoutResult(t *testing.T) {
	if _, err := parseBench("", `pgbench: error: connection to server at "c-primary" failed`); err == nil {
		t.Error("no error for a run without result: a run that never connected would count as nothing")
	}
}
