//go:build e2e

package e2e

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/test/harness"
	"pgtls.dev/pgtls/test/loadgen/record"
)

// A pace is how often new connections are opened with each target. A pooled one costs PostgreSQL nothing, a
// direct one costs it a process, so most are pooled.
type pace struct{ pooled, direct harness.Rates }

var (
	// light is enough to see every failure of more than an instant, and leaves the processors to the story.
	light = pace{pooled: harness.Rates{Pgx: 8, Psql: 0.2, Pgbench: 1}, direct: harness.Rates{Pgx: 1, Psql: 0.2, Pgbench: 1}}
	// medium is about 40 connections a second.
	medium = pace{pooled: harness.Rates{Pgx: 20, Psql: 0.5, Pgbench: 4}, direct: harness.Rates{Pgx: 2, Psql: 0.2, Pgbench: 1}}
	// heavy is about 65 connections a second with the poolers and five direct targets: 20,000 in little more than five minutes.
	heavy = pace{pooled: harness.Rates{Pgx: 40, Psql: 0.5, Pgbench: 8}, direct: harness.Rates{Pgx: 2, Psql: 0.2, Pgbench: 1}}
)

// A load is what applications do all the time while the story happens.
type load struct {
	story       *story
	cluster     *living
	pooled      *harness.Connecting
	direct      *harness.Connecting
	sessions    *harness.Sessions
	deliveries  *harness.Deliveries
	replication []string
}

// underLoad opens connections with every target, keeps sessions direct and pooled, and watches what every pod serves.
func (s *story) underLoad(c *living, pace pace) *load {
	s.Helper()
	return s.beginLoad(c, pace, true)
}

// withoutConnections keeps sessions and watches, and leaves new connections to the story.
const withoutConnections = false

func (s *story) beginLoad(c *living, pace pace, connections bool) *load {
	s.Helper()
	ctx := s.Context()
	l := &load{story: s, cluster: c}
	targets, err := c.Targets(ctx)
	s.must(err)
	l.replication, err = c.client.Replication(ctx)
	s.must(err)
	l.sessions, err = c.client.KeepSessions(ctx, targets, 3)
	s.must(err)
	l.deliveries, err = c.client.WatchDeliveries(ctx)
	s.must(err)
	s.must(l.deliveries.AwaitEveryPod(ctx))
	if !connections {
		return l
	}
	isPooled := func(t harness.Target) bool { return t.Name == "pgbouncer" }
	l.pooled, err = c.client.Connect(ctx, []harness.Target{c.Service("pgbouncer")}, pace.pooled)
	s.must(err)
	l.direct, err = c.client.Connect(ctx, slices.DeleteFunc(targets, isPooled), pace.direct)
	s.must(err)
	return l
}

// end stops the load and notes and checks its figures: nothing failed, nothing was lost, replication went on.
func (l *load) end() {
	s := l.story
	s.Helper()
	replication, err := l.cluster.client.Replication(s.Context())
	s.must(err)
	l.stop()
	if failures := l.failures(); len(failures) > 0 {
		s.Errorf("%d of %d connections failed:\n%s", s.figures.Failed, s.figures.Connections, harness.Telling(failures, 20))
	}
	if failures := l.deliveries.Failures(); len(failures) > 0 {
		s.Errorf("%d handshakes of the watch failed:\n%s", len(failures), harness.Telling(failures, 10))
	}
	if lost := l.sessions.Lost(); len(lost) > 0 {
		s.Errorf("%d of %d sessions were lost:\n%s", len(lost), s.figures.SessionsOpened, harness.Telling(lost, 10))
	}
	if diff := cmp.Diff(l.replication, replication); diff != "" {
		s.Errorf("replication was interrupted (-before +after):\n%s", diff)
	}
}

// stop ends the load and notes its figures.
func (l *load) stop() {
	s := l.story
	s.Helper()
	// Whatever goes wrong with the end of one, the figures of the others are kept.
	if err := errors.Join(l.stopConnections(), l.sessions.Stop(), l.deliveries.Stop()); err != nil {
		s.Errorf("the figures are not complete: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := l.counts().Sum()
	s.figures.Connections += sum.Tried
	s.figures.Failed += sum.Failed
	s.figures.SessionsOpened += l.sessions.Opened()
	s.figures.SessionsLost += len(l.sessions.Lost())
	s.figures.TimeToServedMs = l.deliveries.Spread()
	if l.pooled != nil && sum.Tried == 0 {
		s.Error("no connection was tried")
	}
}

func (l *load) stopConnections() error {
	if l.pooled == nil {
		return nil
	}
	return errors.Join(l.pooled.Stop(), l.direct.Stop())
}

// failures of new connections so far.
func (l *load) failures() []harness.Failure {
	if l.pooled == nil {
		return nil
	}
	return slices.Concat(l.pooled.Failures(), l.direct.Failures())
}

// counts of new connections, at most a few seconds old.
func (l *load) counts() record.Counts {
	counts := record.Counts{}
	if l.pooled == nil {
		return counts
	}
	maps.Copy(counts, l.pooled.Counts())
	maps.Copy(counts, l.direct.Counts())
	return counts
}

// renewals of each pod that the watch of the wire saw.
func (l *load) renewals() map[string]int {
	count := map[string]int{}
	for _, delivery := range l.deliveries.Done() {
		count[delivery.Pod]++
	}
	return count
}

// fewestRenewals over all pods of the cluster.
func (l *load) fewestRenewals() int {
	count := l.renewals()
	fewest := -1
	for pod := range l.deliveries.Serving() {
		if fewest < 0 || count[pod] < fewest {
			fewest = count[pod]
		}
	}
	return max(fewest, 0)
}

// awaitSteady waits until the cluster is ready and what is served is what is stored, everywhere.
func (s *story) awaitSteady(c *living, d *harness.Deliveries, limit time.Duration) {
	s.Helper()
	s.eventually("a steady cluster", limit, func(ctx context.Context) string {
		stale, err := d.Stale(ctx)
		switch {
		case err != nil:
			return err.Error()
		case len(stale) > 0:
			return "not yet what is stored: " + strings.Join(slices.Sorted(slices.Values(stale)), ", ")
		}
		return ""
	})
	s.must(c.AwaitReady(s.Context(), limit))
}

// byPod is the time to served of each pod.
func (l *load) byPod() map[string]harness.Spread {
	times := map[string][]time.Duration{}
	for _, delivery := range l.deliveries.Done() {
		times[delivery.Pod] = append(times[delivery.Pod], delivery.Took())
	}
	spreads := map[string]harness.Spread{}
	for pod, taken := range times {
		spreads[pod] = *harness.SpreadOf(taken)
	}
	return spreads
}

// same compares two observations that must not differ.
func (s *story) same(what string, before, after any) {
	s.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		s.Errorf("%s (-before +after):\n%s", what, diff)
	}
}
