package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/internal/delivery/kube"
)

// A failure is what came of an attempt, in words that are the same at each attempt: they stand in the status.
type failure struct {
	Step   string
	About  string // the object, as "Kind namespace/name"; empty for a failure of the step as a whole
	Text   string // cause, fact and remedy
	Exists bool   // the object is there and is the cluster's, with what it held before
	Leaves bool   // the namespace is being deleted
}

func (f failure) message() string {
	if f.About == "" {
		return f.Step + ": " + f.Text
	}
	return f.About + ": " + f.Text
}

func failureOf(step string, err error) failure {
	f := failure{Step: step, Text: stable(err.Error())}
	if object, ok := kube.AsObject(err); ok {
		f.About, f.Exists = object.Object.String(), object.Exists
		f.Text = kube.Explain(err).String()
	}
	f.Leaves = kube.CauseOf(err) == kube.NamespaceTerminating
	return f
}

// attempt does one thing, unless it failed a moment ago: then the failure stands as it is, and is tried again when its time has come. It
// returns nil when the thing was done. What fails is logged here with all that changes from one attempt to the next.
func (r *round) attempt(ctx context.Context, key string, act func() error) *failure {
	if held, ok := r.retries.held(r.key(), key, r.now); ok {
		r.fail(held)
		return &held
	}
	err := act()
	switch {
	case err == nil:
		r.retries.succeeded(r.key(), key)
		return nil
	case conflictOnly(err):
		// The cache was behind, or another writer came first: look again.
		r.conflict = true
		return &failure{Step: r.step, Exists: true}
	}
	f := failureOf(r.step, err)
	if !f.Leaves {
		r.retries.failed(r.key(), key, f, r.now)
		log.FromContext(ctx).Error(err, "a step failed, it is tried again", "step", r.step)
	}
	r.fail(f)
	return &f
}

func (r *round) fail(f failure) {
	r.failures = append(r.failures, f)
	r.leaving = r.leaving || f.Leaves
}

// conflictOnly tells whether every error in a joined one is a conflict.
func conflictOnly(err error) bool {
	if err == nil {
		return false
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, member := range joined.Unwrap() {
			if !conflictOnly(member) {
				return false
			}
		}
		return true
	}
	return apierrors.IsConflict(err)
}

// How long until a failed attempt is made again: it doubles from the first to the last.
const (
	firstRetry = time.Second
	lastRetry  = later
)

// retries remembers what failed, per cluster. A changed spec is tried at once.
type retries struct {
	mu    sync.Mutex
	known map[types.NamespacedName]*attempts
}

type attempts struct {
	uid        types.UID
	generation int64
	failed     map[string]failedAttempt
	missing    map[string]time.Time // since when an instance's pod is seen to be missing
}

type failedAttempt struct {
	failure
	pause time.Duration
	next  time.Time
}

func newRetries() *retries { return &retries{known: map[types.NamespacedName]*attempts{}} }

// begin drops what was remembered of another cluster of this name, or of an earlier spec.
func (r *retries) begin(cluster types.NamespacedName, uid types.UID, generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[cluster]
	if known == nil || known.uid != uid || known.generation != generation {
		r.known[cluster] = &attempts{uid: uid, generation: generation, failed: map[string]failedAttempt{}, missing: map[string]time.Time{}}
	}
}

func (r *retries) held(cluster types.NamespacedName, key string, now time.Time) (failure, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.known[cluster].failed[key]
	return last.failure, ok && now.Before(last.next)
}

func (r *retries) failed(cluster types.NamespacedName, key string, f failure, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entries := r.known[cluster].failed
	pause := min(max(2*entries[key].pause, firstRetry), lastRetry)
	entries[key] = failedAttempt{failure: f, pause: pause, next: now.Add(pause)}
}

func (r *retries) succeeded(cluster types.NamespacedName, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known[cluster].failed, key)
}

// podMissing notes that an instance has no pod, and returns since when.
func (r *retries) podMissing(cluster types.NamespacedName, instance string, now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := r.known[cluster].missing
	if _, noted := missing[instance]; !noted {
		missing[instance] = now
	}
	return missing[instance]
}

func (r *retries) podThere(cluster types.NamespacedName, instance string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known[cluster].missing, instance)
}

// after returns how long until the first of the failed attempts is made again; 0: none failed.
func (r *retries) after(cluster types.NamespacedName, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var soonest time.Duration
	for _, last := range r.known[cluster].failed {
		if pause := max(last.next.Sub(now), time.Millisecond); soonest == 0 || pause < soonest {
			soonest = pause
		}
	}
	return soonest
}

func (r *retries) forget(cluster types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, cluster)
}

var address = regexp.MustCompile(`(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\])(:\d+)?`)

// stable takes out of an error's text what differs from one attempt to the next: addresses with their ports.
func stable(text string) string { return address.ReplaceAllString(text, "(address)") }

// unanswered says in stable words why a pod gave no answer.
func unanswered(err error) string {
	var operation *net.OpError
	var name *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time"
	case errors.As(err, &name):
		return fmt.Sprintf("its name %s does not resolve", name.Name)
	case errors.As(err, &operation):
		return stable(fmt.Sprintf("%s: %v", operation.Op, operation.Err))
	default:
		return stable(err.Error())
	}
}
