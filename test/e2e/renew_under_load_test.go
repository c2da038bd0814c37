//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"time"

	"pgtls.dev/pgtls/test/harness"
)

// Leaves that live 3 minutes are renewed about every half minute by their own
// timers, and no application notices. "make test": 4 renewals and 4,000
// connections; "make soak": 10 and 20,000.
func renewUnderLoad(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2).LeafLife(3*time.Minute, 150*time.Second))
	l := s.underLoad(c, sized.besidePace)

	enough := harness.Await(s.Context(), fmt.Sprintf("%d renewals of every leaf and %d connections", sized.renewals, sized.renewalConnections), 9*time.Minute, func(context.Context) string {
		renewals, tried := l.fewestRenewals(), l.counts().Sum().Tried
		if renewals < sized.renewals || tried < sized.renewalConnections {
			return fmt.Sprintf("%d renewals, %d connections", renewals, tried)
		}
		return ""
	})
	l.end()
	s.must(enough)
	s.fact("renewalsPerEndpoint", l.renewals())
	s.fact("attempts", l.counts())
}
