package harness

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// Rates are new connections per second and target.
type Rates struct {
	Pgx, Psql, Pgbench float64
	Patience           time.Duration // after which an attempt has failed; 0: loadgen's own
}

// Connecting is a load of new connections.
type Connecting struct {
	stream *stream

	mu       sync.Mutex
	counts   record.Counts
	failures []Failure
}

// Failure is an attempt that did not end in an answered query.
type Failure struct {
	At     time.Time
	Target string
	Client string
	Error  string
}

func (f Failure) String() string {
	return fmt.Sprintf("%s %s by %s: %s", f.At.Format("15:04:05.000"), f.Target, f.Client, f.Error)
}

// Connect keeps opening connections until Stop. The clients follow the cluster's bundle.
func (p *ClientPod) Connect(ctx context.Context, targets []Target, rates Rates) (*Connecting, error) {
	return p.ConnectTrusting(ctx, "", targets, rates)
}

// ConnectTrusting keeps opening connections until Stop, by clients that trust what stands in a file of the pod.
func (p *ClientPod) ConnectTrusting(ctx context.Context, bundle string, targets []Target, rates Rates) (*Connecting, error) {
	c := &Connecting{}
	arguments := append([]string{
		"connect", fmt.Sprintf("--pgx=%g", rates.Pgx), fmt.Sprintf("--psql=%g", rates.Psql), fmt.Sprintf("--pgbench=%g", rates.Pgbench),
	}, targetArguments(targets)...)
	arguments = append(arguments, p.account()...)
	if bundle != "" {
		arguments = append(arguments, "--ca="+bundle)
	}
	if rates.Patience > 0 {
		arguments = append(arguments, "--timeout="+rates.Patience.String())
	}
	var err error
	c.stream, err = p.startLoadgen(ctx, c.receive, arguments...)
	return c, err
}

func targetArguments(targets []Target) []string {
	var arguments []string
	for _, target := range targets {
		arguments = append(arguments, "--target", target.String())
	}
	return arguments
}

func (c *Connecting) receive(line record.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch line.Kind {
	case record.Totals:
		c.counts = line.Counts
	case record.Failure:
		c.failures = append(c.failures, Failure{At: line.Time, Target: line.Target, Client: line.Client, Error: line.Error})
	case record.Started, record.Lost, record.Served:
	}
}

// SoFar is at most a few seconds old.
func (c *Connecting) SoFar() record.Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts.Sum()
}

// Failures so far.
func (c *Connecting) Failures() []Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Failure(nil), c.failures...)
}

// Counts by target and client, so far.
func (c *Connecting) Counts() record.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Stop lets what has begun finish. SoFar and Failures are then complete.
func (c *Connecting) Stop() error { return c.stream.stop() }

// Sessions are connections that are kept open.
type Sessions struct {
	stream *stream

	mu     sync.Mutex
	opened int
	lost   []Failure
}

// KeepSessions opens count sessions with each target and checks them until Stop.
func (p *ClientPod) KeepSessions(ctx context.Context, targets []Target, count int) (*Sessions, error) {
	s := &Sessions{}
	arguments := append([]string{"sessions", fmt.Sprintf("--count=%d", count)}, targetArguments(targets)...)
	arguments = append(arguments, p.account()...)
	var err error
	s.stream, err = p.startLoadgen(ctx, s.receive, arguments...)
	return s, err
}

func (s *Sessions) receive(line record.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch line.Kind {
	case record.Started:
		s.opened = line.Sessions
	case record.Lost:
		s.lost = append(s.lost, Failure{At: line.Time, Target: line.Target, Client: "pgx", Error: line.Error})
	case record.Failure, record.Totals, record.Served:
	}
}

// Opened is how many there were at the start.
func (s *Sessions) Opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// Lost are those that no longer have the backend that they had.
func (s *Sessions) Lost() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Failure(nil), s.lost...)
}

// Stop checks all sessions a last time and closes them.
func (s *Sessions) Stop() error { return s.stream.stop() }

// Telling is up to most failures as lines, for a person to read.
func Telling(failures []Failure, most int) string {
	var lines []string
	for i, failure := range failures {
		if i == most {
			lines = append(lines, fmt.Sprintf("... and %d more", len(failures)-most))
			break
		}
		lines = append(lines, failure.String())
	}
	return strings.Join(lines, "\n")
}
