package cluster

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// A round is one reconciliation: what its steps look at and act through.
type round struct {
	cluster  *v1beta1.PostgresCluster
	settings desired.Settings
	applier  *kube.Applier
	events   events.EventRecorder
	random   io.Reader
	connect  connector
	restarts *restarts
	retries  *retries
	denials  eventReader
	now      time.Time

	facts   facts
	lacking map[string]lack // objects that could not be brought about, by objectName
	ha      *haView         // asked for once in a round; see patroni
	acted   bool            // an instance was acted on, which is enough for one round

	leftovers   bool // an earlier cluster is still going away
	step        string
	failures    []failure
	failedSteps []string
	conflict    bool
	leaving     bool
}

// apply applies the objects one by one: none keeps another from being made.
func (r *round) apply(ctx context.Context, objects ...client.Object) []Wait {
	var waits []Wait
	for _, object := range objects {
		if wait := r.applyOne(ctx, object); wait != nil {
			waits = append(waits, *wait)
		}
	}
	return waits
}

// applyOne notes in lacking what is not as it should be afterwards.
func (r *round) applyOne(ctx context.Context, object client.Object) *Wait {
	name, err := r.applier.Name(object)
	if err != nil {
		r.fail(failureOf(r.step, err))
		return nil
	}
	key := objectName(name.Kind, name.Name)
	var wait *Wait
	failed := r.attempt(ctx, key, func() error {
		did, err := r.applier.Apply(ctx, object)
		if notOurs, ok := kube.AsOwnership(err); ok {
			wait = r.notOurs(key, notOurs)
			return nil
		}
		if err == nil && did == kube.Recovered {
			wait = &Wait{Party: key, Reason: TakenBack, Message: "was taken back, and is looked at again", Again: soon / 4}
			r.lacking[key] = lack{present: true, reason: TakenBack}
		}
		return err
	})
	if failed != nil {
		r.lacking[key] = lack{present: failed.Exists, reason: StepFailed}
	}
	return wait
}

// takeBack makes the cluster the owner of what is there already, whatever a change of it waits for.
func (r *round) takeBack(ctx context.Context, live client.Object) []Wait {
	name, err := r.applier.Name(live)
	if err != nil {
		r.fail(failureOf(r.step, err))
		return nil
	}
	if metav1.IsControlledBy(live, r.cluster) || live.GetDeletionTimestamp() != nil {
		return nil
	}
	key := objectName(name.Kind, name.Name)
	var waits []Wait
	_ = r.attempt(ctx, key, func() error {
		err := r.applier.Recover(ctx, live, claimantOf(r.cluster))
		if notOurs, ok := kube.AsOwnership(err); ok {
			waits = append(waits, *r.notOurs(key, notOurs))
			return nil
		}
		return err
	})
	return waits
}

func (r *round) notOurs(key string, notOurs *kube.OwnershipError) *Wait {
	wait := &Wait{Party: key, Reason: Reason(notOurs.Verdict.Reason()), Message: notOurs.Error(), Again: later}
	if wait.Reason == BeingDeleted || wait.Reason == StaleOwner {
		wait.Again = soon // it will be gone in a moment, and an object of an earlier cluster wakes nothing
	}
	r.lacking[key] = lack{reason: wait.Reason}
	return wait
}

// remove deletes exactly the object that was looked at, and only one that the cluster controls.
func (r *round) remove(ctx context.Context, object client.Object) (done bool) {
	name, err := r.applier.Name(object)
	if err != nil {
		r.fail(failureOf(r.step, err))
		return false
	}
	if !metav1.IsControlledBy(object, r.cluster) || object.GetDeletionTimestamp() != nil {
		return false
	}
	return r.attempt(ctx, "delete "+objectName(name.Kind, name.Name), func() error { return r.applier.Delete(ctx, object) }) == nil
}

// tookBack tells of an object that the cluster controls again.
func (r *round) tookBack(_ context.Context, object kube.Object, verdict kube.Verdict) {
	r.tell(nil, Reason(verdict.Reason()), "TakeBack", "%s", verdict.Message(object.String()))
}

func objectName(kind, name string) string { return kind + " " + name }

// tell records an event of something that was done. about is the second object that it concerns, or nil.
func (r *round) tell(about runtime.Object, reason Reason, action, format string, args ...any) {
	r.events.Eventf(r.cluster, about, corev1.EventTypeNormal, string(reason), action, "%s", fmt.Sprintf(format, args...))
}

func (r *round) warn(reason Reason, action, message string) {
	r.events.Eventf(r.cluster, nil, corev1.EventTypeWarning, string(reason), action, "%s", message)
}
