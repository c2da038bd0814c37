package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// A session is a connection that is kept open, and the server of it.
type session struct {
	target  target
	conn    *pgx.Conn
	backend backend
}

// backend is one process of PostgreSQL: process ids are reused, start times are not.
type backend struct {
	pid     int
	started time.Time
}

const (
	sessionTimeout = 30 * time.Second
	checkEvery     = time.Second
)

// runSessions opens count sessions on each target and looks at them until ctx ends.
func runSessions(ctx context.Context, a account, targets []target, count int, out *printer) error {
	var open []*session
	for _, t := range targets {
		for range count {
			s, err := openSession(ctx, a, t)
			if err != nil {
				return err
			}
			open = append(open, s)
		}
	}
	opened := len(open)
	out.print(record.Line{Kind: record.Started, Sessions: opened})
	for ctx.Err() == nil {
		sleep(ctx, checkEvery)
		// Also after the end is asked for: what was lost in the last second is lost.
		open = stillOpen(context.WithoutCancel(ctx), open, out)
	}
	out.print(record.Line{Kind: record.Totals, Sessions: opened, Lost: opened - len(open), Final: true})
	for _, s := range open {
		_ = s.conn.Close(context.WithoutCancel(ctx))
	}
	return nil
}

func openSession(ctx context.Context, a account, t target) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	conn, err := dialPgx(ctx, a, t, sessionTimeout)
	if err != nil {
		return nil, fmt.Errorf("opening a session with %s: %w", t.name, err)
	}
	s := &session{target: t, conn: conn}
	s.backend, err = s.ask(ctx)
	return s, err
}

// ask says which process serves the session now.
func (s *session) ask(ctx context.Context) (backend, error) {
	const question = "select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()"
	var b backend
	if err := s.conn.QueryRow(ctx, question).Scan(&b.pid, &b.started); err != nil {
		return backend{}, fmt.Errorf("asking a session with %s for its backend: %w", s.target.name, err)
	}
	return b, nil
}

// stillOpen returns the sessions that are what they were, and prints the others.
func stillOpen(ctx context.Context, sessions []*session, out *printer) []*session {
	var kept []*session
	for _, s := range sessions {
		if err := s.check(ctx); err != nil {
			out.print(record.Line{Kind: record.Lost, Target: s.target.name, Error: err.Error()})
			_ = s.conn.Close(ctx)
			continue
		}
		kept = append(kept, s)
	}
	return kept
}

func (s *session) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	now, err := s.ask(ctx)
	if err != nil {
		return err
	}
	if now.pid != s.backend.pid || !now.started.Equal(s.backend.started) {
		return fmt.Errorf("backend was %d since %s, is %d since %s", s.backend.pid, s.backend.started, now.pid, now.started)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
