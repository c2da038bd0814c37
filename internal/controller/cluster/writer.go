package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// A writer writes the objects of a cluster. It decides about none.
type writer struct {
	cluster *v1beta1.PostgresCluster
	applier *kube.Applier
	ledger  *attempt.Ledger
	lacking map[string]lack // objects that could not be brought about, by objectName
	wrote   bool            // an object was made or changed
}

// A requirement is how much of an object another one needs.
type requirement int

const (
	// present: the object is there and is the cluster's, though it may not be what the spec says now.
	present requirement = iota
	// current: the object is what the spec says now. A pod must not start with the hash of a configuration that was not written.
	current
)

// needs are the objects without which another one is not made, by objectName.
type needs map[string]requirement

// lack is an object that could not be brought about in this round.
type lack struct {
	present bool
	reason  decide.Reason
}

func objectName(kind, name string) string { return kind + " " + name }

// apply applies the objects one by one: none keeps another from being made.
func (w *writer) apply(ctx context.Context, objects ...client.Object) []decide.Wait {
	var waits []decide.Wait
	for _, object := range objects {
		if wait := w.applyOne(ctx, object); wait != nil {
			waits = append(waits, *wait)
		}
	}
	return waits
}

// applyOne notes in lacking what is not as it should be afterwards.
func (w *writer) applyOne(ctx context.Context, object client.Object) *decide.Wait {
	name, err := w.applier.Name(object)
	if err != nil {
		w.ledger.Fail(err)
		return nil
	}
	key := objectName(name.Kind, name.Name)
	var wait *decide.Wait
	failed := w.ledger.Try(ctx, key, func() error {
		did, err := w.applier.Apply(ctx, object)
		if notOurs, ok := kube.AsOwnership(err); ok {
			wait = w.notOurs(key, notOurs)
			return nil
		}
		w.wrote = w.wrote || err == nil && did != kube.InForce
		if err == nil && did == kube.Recovered {
			wait = &decide.Wait{Party: key, Reason: decide.TakenBack, Message: "was taken back, and is looked at again", Again: decide.Soon / 4}
			w.lacking[key] = lack{present: true, reason: decide.TakenBack}
		}
		return err
	})
	if failed != nil {
		w.lacking[key] = lack{present: failed.Exists, reason: decide.StepFailed}
	}
	return wait
}

// takeBack makes the cluster the owner of what is there already, whatever a change of it waits for.
func (w *writer) takeBack(ctx context.Context, live client.Object) []decide.Wait {
	name, err := w.applier.Name(live)
	if err != nil {
		w.ledger.Fail(err)
		return nil
	}
	if metav1.IsControlledBy(live, w.cluster) || live.GetDeletionTimestamp() != nil {
		return nil
	}
	key := objectName(name.Kind, name.Name)
	var waits []decide.Wait
	_ = w.ledger.Try(ctx, key, func() error {
		err := w.applier.Recover(ctx, live, claimantOf(w.cluster))
		if notOurs, ok := kube.AsOwnership(err); ok {
			waits = append(waits, *w.notOurs(key, notOurs))
			return nil
		}
		return err
	})
	return waits
}

func (w *writer) notOurs(key string, notOurs *kube.OwnershipError) *decide.Wait {
	wait := &decide.Wait{Party: key, Reason: decide.Reason(notOurs.Verdict.Reason()), Message: notOurs.Error(), Again: decide.Later}
	if wait.Reason == decide.BeingDeleted || wait.Reason == decide.StaleOwner {
		wait.Again = decide.Soon // it will be gone in a moment, and an object of an earlier cluster wakes nothing
	}
	w.lacking[key] = lack{reason: wait.Reason}
	return wait
}

// isLacking reports whether an object could not be brought about in this round.
func (w *writer) isLacking(kind, name string) bool {
	_, lacking := w.lacking[objectName(kind, name)]
	return lacking
}

// missing returns what keeps an object from being made, or nil. Its reason is that of the first object by name.
func (w *writer) missing(party string, needed needs) *decide.Wait {
	var names []string
	for name, requirement := range needed {
		if lacking, ok := w.lacking[name]; ok && !(requirement == present && lacking.present) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	reason := w.lacking[names[0]].reason
	if reason.IsStuck() {
		reason = decide.ForeignObject
	}
	return &decide.Wait{Party: party, Reason: reason, Message: "it needs " + strings.Join(names, " and ") + ", see there", Again: decide.Later}
}

// remove deletes exactly the object that was looked at, and only one that the cluster controls.
func (w *writer) remove(ctx context.Context, object client.Object) (done bool) {
	if !metav1.IsControlledBy(object, w.cluster) || object.GetDeletionTimestamp() != nil {
		return false
	}
	return w.discard(ctx, object)
}

// discard deletes exactly the object that was looked at, whichever controller it has.
func (w *writer) discard(ctx context.Context, object client.Object) (done bool) {
	name, err := w.applier.Name(object)
	if err != nil {
		w.ledger.Fail(err)
		return false
	}
	return w.ledger.Try(ctx, "delete "+objectName(name.Kind, name.Name), func() error { return w.applier.Delete(ctx, object) }) == nil
}

// removeNamed deletes those of the objects that exist and that the cluster controls. It reports whether none is left.
func (w *writer) removeNamed(ctx context.Context, objects ...client.Object) (gone bool, err error) {
	gone = true
	for _, object := range objects {
		err := w.applier.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("reading %T %s: %w", object, object.GetName(), err)
		}
		gone = (w.remove(ctx, object) || !metav1.IsControlledBy(object, w.cluster)) && gone
	}
	return gone, nil
}

// prompt changes an annotation of what makes pods, outside of its pod template: Kubernetes looks at it at once, whatever its own pause is.
func (w *writer) prompt(ctx context.Context, maker client.Object, now time.Time) {
	name, err := w.applier.Name(maker)
	if err != nil {
		w.ledger.Fail(err)
		return
	}
	_ = w.ledger.Try(ctx, "prompt "+objectName(name.Kind, name.Name), func() error {
		_, err := w.applier.PatchAnnotation(ctx, maker, desired.PromptAnnotation, now.UTC().Format(time.RFC3339))
		return err
	})
}

// permit returns nil when the namespace may be written to, also by what is no object, such as Patroni's configuration.
func (w *writer) permit(ctx context.Context) error {
	return w.applier.Permit(ctx, w.cluster.Namespace)
}
