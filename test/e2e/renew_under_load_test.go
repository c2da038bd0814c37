//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	"pgtls.dev/pgtls/test/harness"
)

// Leaves that live 3 minutes are renewed about every half minute by their own
// timers, and no application notices.
func renewUnderLoad(s *story) {
	const (
		wantedRenewals    = 10
		wantedConnections = 20_000
	)
	c := s.born(s.cluster().WithInstances(3).WithPoolers(2).LeafLife(3*time.Minute, 150*time.Second))
	l := s.underLoad(c, heavy)

	enough := harness.Await(s.Context(), "10 renewals of every leaf and 20000 connections", 9*time.Minute, func(context.Context) string {
		renewals, tried := l.fewestRenewals(), l.counts().Sum().Tried
		if renewals < wantedRenewals || tried < wantedConnections {
			return fmt.Sprintf("%d renewals, %d connections", renewals, tried)
		}
		return ""
	})
	l.end()
	s.must(enough)
	s.fact("renewalsPerEndpoint", l.renewals())
	s.fact("attempts", l.counts())
}
