package tls

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/internal/certmanager"
	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/controller/tls/request"
	"pgtls.dev/pgtls/internal/controller/tls/snapshot"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// job is a step that is to be taken, of whatever kind.
type job struct {
	lane   string // what its failure holds up
	step   string // without what differs from one attempt to the next
	object string // that it writes
	quiet  bool   // it is no news
	do     func(context.Context) error
}

// jobs are the steps of a plan, and those about Certificates, in the order in which they are taken.
func (r *Reconciler) jobs(s *snapshot.Snapshot, decided plan.Plan, requests []request.Step) (jobs []job) {
	for _, step := range requests {
		object := certmanager.CertificateKind + " " + step.Object.GetName()
		jobs = append(jobs, job{lane: object, step: step.String(), object: object, do: func(ctx context.Context) error {
			return request.Take(ctx, r.executor.Applier, step)
		}})
	}
	round := r.executor.Begin(s, decided)
	for _, step := range decided.Steps {
		jobs = append(jobs, job{
			lane: act.Lane(step), step: stepName(step), object: act.Object(s.Cluster.Name, step), quiet: step.Op == plan.Prove,
			do: func(ctx context.Context) error { return round.Take(ctx, step) },
		})
	}
	return jobs
}

// stepName leaves out the revision: a step that is tried again may have another one.
func stepName(step plan.Step) string {
	step.Revision = ""
	return step.String()
}

// execute takes jobs. One that fails ends its lane only: everything that can be done is done. It returns a write
// conflict, when there was one: everything is to be looked at again.
func (r *Reconciler) execute(ctx context.Context, cluster types.NamespacedName, jobs []job) (conflict error) {
	var ended []string
	for _, j := range jobs {
		if slices.Contains(ended, j.lane) {
			continue
		}
		level := 0
		if j.quiet {
			level = 1
		}
		log.FromContext(ctx).V(level).Info("step", "step", j.step)
		switch err := j.do(ctx); {
		case err == nil:
			continue
		case errors.Is(err, act.ErrLookAgain):
		case apierrors.IsConflict(err):
			conflict = err
		default:
			r.failures.add(cluster, j, err, r.options.Now())
			log.FromContext(ctx).Error(err, "a step failed", "lane", j.lane, "object", j.object)
		}
		ended = append(ended, j.lane)
	}
	return conflict
}

// due are the jobs whose lane does not pause.
func (r *Reconciler) due(cluster types.NamespacedName, jobs []job) []job {
	now := r.options.Now()
	return slices.DeleteFunc(slices.Clone(jobs), func(j job) bool { return r.failures.pauses(cluster, j.lane, now) })
}

// keyOf names a cluster.
func keyOf(s *snapshot.Snapshot) types.NamespacedName { return client.ObjectKeyFromObject(s.Cluster) }
