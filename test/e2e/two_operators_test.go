//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

// stall is how long a request of the second operator may take to arrive: it acts on what it read that long ago.
const stall = 3 * time.Second

// Two operators work on one cluster, as when a node was cut off and comes back: one of them beside the story, whose connection to
// the API server stalls at random. Renewals and re-keys of both domains go on, and no client notices.
func twoOperators(s *story) {
	object := s.cluster().WithInstances(2).WithPoolers(1).LeafLife(3*time.Minute, 150*time.Second).Build()
	object.Spec.TLS.Rotation = &v1beta1.RotationSpec{RetireSoak: ptr.To(v1beta1.SoakDuration("0s"))}
	cluster := s.created(object)
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	c := s.withClient(cluster, object)
	pods := s.identities(c)
	authorities := s.authoritiesOf(c)
	second := s.secondOperator(c)
	l := s.underLoad(c, sized.pace)

	s.renewedByTimer(l, 1)
	for _, domain := range []string{"server", "client"} {
		old := s.authority(c, domain, 1)
		s.requestRekey(c, domain, 2)
		s.awaitGenerationWithin(c, domain, 2, 3*time.Minute)
		s.must(c.client.Follow(s.Context(), s.bundleOf(c), readyLimit))
		s.must(c.client.FollowOperator(s.Context(), readyLimit))
		s.refusedEverywhere(c, domain, old)
		s.acceptedEverywhere(c, domain, s.authority(c, domain, 2))
		s.renewedByTimer(l, 1)
	}
	s.must(second.Runs())
	l.end()
	authorities.end()
	s.same("pods and restarts", pods, s.identities(c))
	s.fact("secondOperatorWrites", second.written())
	if second.written() == 0 {
		s.Error("the second operator has written nothing: this shows nothing")
	}
}

// renewedByTimer waits until every pod was renewed a number of times more.
func (s *story) renewedByTimer(l *load, times int) {
	s.Helper()
	for range times {
		s.must(l.deliveries.AwaitNew(s.Context(), l.deliveries.Serving(), 100*time.Second))
	}
}

// stalled is an operator whose requests arrive late.
type stalled struct {
	*harness.LocalOperator
	writes counter
}

func (o *stalled) written() int { return o.writes.value() }

func (s *story) secondOperator(c *living) *stalled {
	s.Helper()
	log := filepath.Join(os.Getenv(harness.RootVariable), "_artifacts", "e2e", s.name+".operator.log")
	operator, err := c.RunOperatorBeside(s.Context(), c.client, images, s.TempDir(), log)
	if errors.Is(err, harness.ErrOutOfReach) {
		s.Skip("the operator cannot run beside the story: ", err)
	}
	s.must(err)
	o := &stalled{LocalOperator: operator}
	operator.Spoil(func(harness.Call) harness.Fault {
		time.Sleep(rand.N(stall))
		return harness.NoFault
	})
	operator.OnWrite(func(call harness.Call) { o.writes.add(call) })
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("what the second operator told last (%v):\n%s", operator.Runs(), operator.Told())
		}
		if err := operator.Close(context.Background()); err != nil {
			s.Error(fmt.Errorf("ending the second operator: %w", err))
		}
	})
	return o
}

// counter counts the writes that were done, all but Events.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(call harness.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.Resource != "events" {
		c.n++
	}
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
