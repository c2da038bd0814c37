package tls

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/request"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// job is a step that is to be taken, of whatever kind.
type job struct {
	key    string // the same in each round until it is done
	object string // that it writes
	step   string // in words
	quiet  bool   // it is no news
	makes  bool   // it can do nothing but make an object that is not there
	do     func(context.Context) error
}

// work is everything that is to be done now, and was not tried a moment ago.
type work struct {
	lanes     [][]job // independent of each other: one that fails ends its own lane
	keys      []string
	tentative bool // it was decided on what the cache holds
}

// workOf is what a plan says, and what is to be done about Certificates and about the Secrets of authorities.
func (r *Reconciler) workOf(s *snapshot.Snapshot, decided plan.Plan, requests []request.Step) work {
	w := work{tentative: !s.PastCache}
	round := r.executor.Begin(s)
	planned := func(steps ...plan.Step) (lane []job) {
		for _, step := range steps {
			_, quiet := step.(plan.Prove)
			w.keys = append(w.keys, step.Key())
			lane = append(lane, job{key: step.Key(), object: act.Object(s.Cluster.Name, step), step: step.String(), quiet: quiet, makes: makes(s, step),
				do: func(ctx context.Context) error { return round.Take(ctx, step) }})
		}
		return lane
	}
	for _, step := range decided.Keep {
		w.lanes = append(w.lanes, planned(step))
	}
	for _, tidy := range r.executor.Tidy(s) {
		w.add(s, job{key: tidy.Key, object: tidy.Object, step: tidy.Key, do: tidy.Do})
	}
	for _, step := range requests {
		w.add(s, job{key: step.String(), object: certmanager.CertificateKind + " " + step.Object.GetName(), step: step.String(),
			do: func(ctx context.Context) error { return request.Take(ctx, r.executor.Applier, step) }})
	}
	for _, lane := range decided.Lanes {
		w.lanes = append(w.lanes, planned(lane.Steps...))
	}
	if decided.Transition != nil {
		w.lanes = append(w.lanes, planned(decided.Transition))
	}
	return w
}

// add adds a job that the plan does not know of, unless it failed a moment ago.
func (w *work) add(s *snapshot.Snapshot, j job) {
	w.keys = append(w.keys, j.key)
	if failed := s.Observed.Failure(j.key); failed == nil || !s.Observed.Now.Before(failed.RetryAt) {
		w.lanes = append(w.lanes, []job{j})
	}
}

// wants reports whether a step that failed is still to be taken: it is among the work, or the plan holds it back.
func (w *work) wants(decided plan.Plan, failed facts.Failure) bool {
	return slices.Contains(w.keys, failed.Step) || slices.ContainsFunc(decided.Blockers, func(b plan.Blocker) bool {
		return b.Party == failed.Object && b.Message == failed.Step+": "+failed.Message
	})
}

// execute does everything that can be done. It returns a write conflict, when there was one: everything is to be looked at again. What
// was not done as it was decided puts the cache in doubt.
func (r *Reconciler) execute(ctx context.Context, cluster types.NamespacedName, w work) (conflict error) {
	for _, lane := range w.lanes {
		for _, j := range lane {
			err := r.run(ctx, cluster, j, w.tentative)
			if apierrors.IsConflict(err) {
				conflict = err
			}
			if err != nil {
				r.doubts.set(cluster, true)
				break
			}
		}
	}
	return conflict
}

// run does one job, and remembers when it fails. What is tentative is decided again on evidence, and only then has failed.
func (r *Reconciler) run(ctx context.Context, cluster types.NamespacedName, j job, tentative bool) error {
	logger, level := log.FromContext(ctx), 0
	if j.quiet {
		level = 1
	}
	logger.V(level).Info("step", "step", j.step)
	err := j.do(ctx)
	switch {
	case err == nil:
		r.failures.done(cluster, j.key)
	case tentative, errors.Is(err, act.ErrLookAgain), apierrors.IsConflict(err):
		logger.V(1).Info("looking again", "step", j.step, "because", err.Error())
	default:
		r.failures.add(cluster, j, err, r.options.Now())
		logger.Error(err, "a step failed", "step", j.step, "object", j.object)
	}
	return err
}

// retryIn returns how long until a failed step is tried again; 0: none is to be.
func (r *Reconciler) retryIn(cluster types.NamespacedName) (pause time.Duration) {
	for _, failed := range r.failures.of(cluster) {
		pause = soonest(pause, max(failed.RetryAt.Sub(r.options.Now()), time.Millisecond))
	}
	return pause
}

// keyOf names a cluster.
func keyOf(s *snapshot.Snapshot) types.NamespacedName { return client.ObjectKeyFromObject(s.Cluster) }
