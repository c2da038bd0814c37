package attempt

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// A Ledger holds what failed in one round of one cluster.
type Ledger struct {
	memory  *Memory
	cluster types.NamespacedName
	now     time.Time

	step        string
	failures    []Failure
	failedSteps []string
	conflict    bool
	leaving     bool
}

// NewLedger of a round. What failed a moment ago in an earlier round is not tried in this one.
func NewLedger(memory *Memory, cluster types.NamespacedName, now time.Time) *Ledger {
	return &Ledger{memory: memory, cluster: cluster, now: now}
}

// Step runs one step, unless it failed a moment ago. It has failed when anything in it failed.
func (l *Ledger) Step(ctx context.Context, name string, run func() error) {
	l.step = name
	before, conflict := len(l.failures), l.conflict
	l.conflict = false
	_ = l.Try(ctx, "step "+name, run)
	if len(l.failures) > before || l.conflict {
		l.failedSteps = append(l.failedSteps, name)
	}
	l.conflict = l.conflict || conflict
}

// Try does one thing, unless it failed a moment ago: then the failure stands as it is, and is tried again when its time has come. It
// returns nil when the thing was done. What fails is logged here with all that changes from one attempt to the next.
func (l *Ledger) Try(ctx context.Context, key string, act func() error) *Failure {
	if held, ok := l.memory.held(l.cluster, key, l.now); ok {
		l.add(held)
		return &held
	}
	err := act()
	switch {
	case err == nil:
		l.memory.succeeded(l.cluster, key)
		return nil
	case ConflictOnly(err):
		// The cache was behind, or another writer came first: look again.
		l.conflict = true
		return &Failure{Step: l.step, Exists: true}
	}
	f := Of(l.step, err)
	if !f.Leaves {
		l.memory.failed(l.cluster, key, f, l.now)
		log.FromContext(ctx).Error(err, "a step failed, it is tried again", "step", l.step)
	}
	l.add(f)
	return &f
}

// Fail notes an error that no attempt stands for.
func (l *Ledger) Fail(err error) { l.add(Of(l.step, err)) }

func (l *Ledger) add(f Failure) {
	l.failures = append(l.failures, f)
	l.leaving = l.leaving || f.Leaves
}

// Failures of this round, in their order.
func (l *Ledger) Failures() []Failure { return l.failures }

// HasFailed reports whether a step failed in this round.
func (l *Ledger) HasFailed(step string) bool { return slices.Contains(l.failedSteps, step) }

// IsConflict reports whether a write met a newer object: then the cluster is looked at again at once.
func (l *Ledger) IsConflict() bool { return l.conflict }

// IsLeaving reports whether the namespace is being deleted.
func (l *Ledger) IsLeaving() bool { return l.leaving }
