package tls

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/invariant"
)

// failures remembers the steps that failed, by cluster and key. A step is not tried again before its pause is over, and the pause
// grows with each attempt. After a restart of the operator each is tried once more.
type failures struct {
	mu       sync.Mutex
	clusters map[types.NamespacedName]map[string]failure
}

type failure struct {
	facts.Failure
	count int // of attempts in a row
}

func newFailures() *failures {
	return &failures{clusters: map[types.NamespacedName]map[string]failure{}}
}

// of returns those of a cluster, sorted by step.
func (f *failures) of(cluster types.NamespacedName) (all []facts.Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.clusters[cluster] {
		all = append(all, one.Failure)
	}
	slices.SortFunc(all, func(a, b facts.Failure) int { return cmp.Compare(a.Step, b.Step) })
	return all
}

// add counts a failure of a job.
func (f *failures) add(cluster types.NamespacedName, j job, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clusters[cluster] == nil {
		f.clusters[cluster] = map[string]failure{}
	}
	one := f.clusters[cluster][j.key]
	one.Step, one.Object = j.key, j.object
	one.Cause, one.Message = explain(j.object, err)
	one.RetryAt = now.Add(min(retryMin<<min(one.count, 5), retryMax))
	one.count++
	f.clusters[cluster][j.key] = one
}

// done forgets the failure of a step that succeeded.
func (f *failures) done(cluster types.NamespacedName, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.clusters[cluster], key)
}

// keepOnly forgets the failures of a cluster whose step is not to be taken any more.
func (f *failures) keepOnly(cluster types.NamespacedName, wanted func(facts.Failure) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, one := range f.clusters[cluster] {
		if !wanted(one.Failure) {
			delete(f.clusters[cluster], key)
		}
	}
	if len(f.clusters[cluster]) == 0 {
		delete(f.clusters, cluster)
	}
}

// forget forgets a cluster.
func (f *failures) forget(cluster types.NamespacedName) {
	f.keepOnly(cluster, func(facts.Failure) bool { return false })
}

// explain says why a step failed: a code, and a line with object, fact and remedy that is the same at each attempt.
func explain(object string, err error) (cause, message string) {
	if violation, ok := errors.AsType[*invariant.Violation](err); ok {
		return violation.Invariant, violation.Error() + ": the operator does not take the step; see Invariants in docs/rotation.md"
	}
	if own, ok := errors.AsType[*act.Error](err); ok {
		return string(own.Cause), string(own.Cause) + ": " + own.String()
	}
	if foreign, ok := kube.AsOwnership(err); ok {
		return string(foreign.Verdict.Reason()), string(foreign.Verdict.Reason()) + ": " + foreign.Error()
	}
	problem := kube.Explain(err)
	return string(problem.Cause), object + ": " + problem.String()
}
