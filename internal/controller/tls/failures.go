package tls

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/rotation/invariant"
)

// failures remembers which steps failed, by cluster and lane. A lane is not tried again before its pause is over, and the pause
// grows with each attempt; other lanes go on. After a restart of the operator each step is tried once more.
type failures struct {
	mu       sync.Mutex
	clusters map[types.NamespacedName]map[string]snapshot.Failure
}

func newFailures() *failures {
	return &failures{clusters: map[types.NamespacedName]map[string]snapshot.Failure{}}
}

// of returns those of a cluster, sorted by lane.
func (f *failures) of(cluster types.NamespacedName) []snapshot.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.clusters[cluster]), func(a, b snapshot.Failure) int { return cmp.Compare(a.Lane, b.Lane) })
}

// pauses reports whether a lane has failed and its pause is not over.
func (f *failures) pauses(cluster types.NamespacedName, lane string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	failure, failed := f.clusters[cluster][lane]
	return failed && now.Before(failure.Next)
}

// add counts a failure of a job.
func (f *failures) add(cluster types.NamespacedName, j job, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clusters[cluster] == nil {
		f.clusters[cluster] = map[string]snapshot.Failure{}
	}
	failure := f.clusters[cluster][j.lane]
	if failure.Step != j.step {
		failure = snapshot.Failure{Lane: j.lane, Step: j.step, Object: j.object, Since: now}
	}
	failure.Cause, failure.Fact, failure.Remedy = explain(err)
	failure.Next = now.Add(min(retryMin<<min(failure.Count, 5), retryMax))
	failure.Count++
	f.clusters[cluster][j.lane] = failure
}

// keepOnly forgets the failures of a cluster whose step is not to be taken any more.
func (f *failures) keepOnly(cluster types.NamespacedName, jobs []job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lane, failure := range f.clusters[cluster] {
		if !slices.ContainsFunc(jobs, func(j job) bool { return j.lane == lane && j.step == failure.Step }) {
			delete(f.clusters[cluster], lane)
		}
	}
	if len(f.clusters[cluster]) == 0 {
		delete(f.clusters, cluster)
	}
}

// next returns how long until a lane of a cluster is tried again; 0: none is to be.
func (f *failures) next(cluster types.NamespacedName, now time.Time) (pause time.Duration) {
	for _, failure := range f.of(cluster) {
		pause = soonest(pause, max(failure.Next.Sub(now), time.Millisecond))
	}
	return pause
}

// explain says why a step failed in words that are the same at each attempt.
func explain(err error) (cause, fact, remedy string) {
	if violation, ok := errors.AsType[*invariant.Violation](err); ok {
		return snapshot.CauseViolation, violation.Error(), "see docs/rotation.md for the invariant"
	}
	if own, ok := errors.AsType[*act.Error](err); ok {
		return string(own.Cause), own.Fact, own.Remedy
	}
	if foreign, ok := kube.AsOwnership(err); ok {
		return string(foreign.Verdict.Reason()), foreign.Error(), "see docs/reasons.md"
	}
	problem := kube.Explain(err)
	return string(problem.Cause), problem.Fact(), problem.Remedy()
}
