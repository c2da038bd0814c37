package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"pgtls.dev/pgtls/test/harness"
	"pgtls.dev/pgtls/test/loadgen/record"
	"pgtls.dev/pgtls/test/platform"
)

// An outcome is what was measured while every leaf was renewed.
type outcome struct {
	before, after map[string]string // serial by pod
	deliveries    []harness.Delivery

	counts   record.Counts
	failures []harness.Failure

	opened int
	lost   []harness.Failure

	streams     int    // of replication
	interrupted string // how replication changed; empty: it did not
}

// shownFailures keeps the table in sight.
const shownFailures = 10

func (o *outcome) print(w io.Writer) {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "ENDPOINT\tOLD SERIAL\tNEW SERIAL\tFROM SECRET WRITE TO SERVED")
	for _, pod := range slices.Sorted(maps.Keys(o.before)) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", pod, short(o.before[pod]), short(o.after[pod]), o.times(pod))
	}
	_ = table.Flush()

	fmt.Fprintln(w)
	table = tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PATH AND CLIENT\tNEW CONNECTIONS\tFAILED")
	for _, path := range slices.Sorted(maps.Keys(o.counts)) {
		fmt.Fprintf(table, "%s\t%d\t%d\n", path, o.counts[path].Tried, o.counts[path].Failed)
	}
	sum := o.counts.Sum()
	fmt.Fprintf(table, "all\t%d\t%d\n", sum.Tried, sum.Failed)
	_ = table.Flush()

	fmt.Fprintf(w, "\nsessions      %d opened before the first renewal, %d still have the same backend\n", o.opened, o.opened-len(o.lost))
	replication := "uninterrupted"
	if o.interrupted != "" {
		replication = "INTERRUPTED"
	}
	fmt.Fprintf(w, "replication   %d streams, %s\n", o.streams, replication)
	for _, list := range [][]harness.Failure{o.failures, o.lost} {
		if len(list) > 0 {
			fmt.Fprintf(w, "\n%s\n", harness.Telling(list, shownFailures))
		}
	}
}

// short is enough of a serial number to tell two apart.
func short(serial string) string { return fmt.Sprintf("%.12s", serial) }

// times to served of each renewal, in their order.
func (o *outcome) times(pod string) string {
	var times []string
	for _, delivery := range o.deliveries {
		if delivery.Pod == pod {
			times = append(times, fmt.Sprintf("%d ms", delivery.Took().Round(time.Millisecond).Milliseconds()))
		}
	}
	return strings.Join(times, ", ")
}

// verdict is an error for each promise that was not kept.
func (o *outcome) verdict() error {
	var broken []error
	if sum := o.counts.Sum(); sum.Failed > 0 || sum.Tried == 0 {
		broken = append(broken, fmt.Errorf("%d of %d connections failed", sum.Failed, sum.Tried))
	}
	if len(o.lost) > 0 || o.opened == 0 {
		broken = append(broken, fmt.Errorf("%d of %d sessions were lost", len(o.lost), o.opened))
	}
	if o.interrupted != "" || o.streams == 0 {
		broken = append(broken, fmt.Errorf("replication was interrupted (-before +after):\n%s", o.interrupted))
	}
	for _, pod := range slices.Sorted(maps.Keys(o.before)) {
		if o.before[pod] == o.after[pod] {
			broken = append(broken, fmt.Errorf("%s still serves its old leaf", pod))
		}
	}
	return errors.Join(broken...)
}

// printNext ends with what to try.
func printNext(w io.Writer, kubernetes platform.Kubernetes, kept bool) {
	fmt.Fprintln(w, "\nWhat to try next:")
	if !kept {
		fmt.Fprintln(w, "  make demo KEEP=1      the same, and everything stays for you to play with (make down ends it)")
		fmt.Fprintln(w, "  make e2e STORY=hand-damage      what happens when the Secrets are changed by hand")
		return
	}
	for _, command := range []string{
		"kubectl -n " + namespace + " get postgrescluster",
		"kubectl -n " + namespace + " describe postgrescluster " + name,
		"kubectl -n " + namespace + " annotate postgrescluster " + name + ` --overwrite pgtls.dev/renew-requested-at="$(date)"`,
		"kubectl -n " + namespace + " delete secret " + name + "-pgbouncer-tls",
		"kubectl -n " + namespace + " exec -it " + name + "-client -- loadgen connect --duration 10s --target pooled=" + name + "-pgbouncer." + namespace + ".svc:5432",
	} {
		fmt.Fprintln(w, "  "+strings.Join(kubernetes.Exec(command), " "))
	}
	if kubernetes.Throwaway() {
		fmt.Fprintln(w, "  make down      ends it all")
	}
}
