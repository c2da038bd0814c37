package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/denial"
	"pgtls.dev/pgtls/internal/delivery/kube"
)

// podPatience is how long a pod may be missing before its StatefulSet is asked why there is none. While no event says why, it is asked
// again after pauses that double, up to longestPause: the pod itself is watched.
const (
	podPatience  = 2 * time.Second
	longestPause = time.Minute
)

// A denied is what Kubernetes makes no pod for.
type denied struct {
	maker    client.Object // a StatefulSet, or the poolers' Deployment
	wait     decide.Wait
	standing denial.Standing // Lasting also when no denial is known
}

// lookForDeniedPods says why a pod that should be there is not made: a ResourceQuota or a policy denies it to the StatefulSet, which has no
// condition for it and says so in an event. Once the denial is over, or nothing but an attempt shows whether it is, it has Kubernetes try again.
func lookForDeniedPods(ctx context.Context, r *round) ([]decide.Wait, error) {
	var waits []decide.Wait
	for _, d := range r.denials.look(ctx, r.seen) {
		waits = append(waits, d.wait)
		if !r.denials.memory.IsDue(r.seen.key(), d.wait.Party, d.standing, r.seen.now) {
			continue
		}
		// Also of a prompt that failed: it is not made again in every round.
		r.denials.memory.Prompted(r.seen.key(), d.wait.Party, d.standing, r.seen.now)
		r.objects.prompt(ctx, d.maker, r.seen.now)
	}
	return waits, nil
}

// denials find out why a pod that should be there is not made. Events and quotas are read live, and only while a pod is missing.
type denials struct {
	memory *denial.Memory
	events denial.EventReader
	quotas denial.QuotaReader
}

func (d denials) look(ctx context.Context, seen observed) []denied {
	var found []denied
	for _, name := range slices.Sorted(maps.Keys(seen.statefulSets)) {
		statefulSet := seen.statefulSets[name]
		if seen.pods[name] != nil || statefulSet.DeletionTimestamp != nil {
			d.memory.Present(seen.key(), "StatefulSet "+name)
			continue
		}
		found = append(found, d.whyNoPod(ctx, seen, statefulSet))
	}
	return append(found, d.deniedPoolers(ctx, seen)...)
}

func (d denials) deniedPoolers(ctx context.Context, seen observed) []denied {
	if seen.pooler == nil {
		return nil
	}
	party := "Deployment " + seen.pooler.Name
	for _, condition := range seen.pooler.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			d.memory.Missing(seen.key(), party, seen.now)
			return []denied{d.judge(ctx, seen.pooler, party, condition.Message)}
		}
	}
	d.memory.Present(seen.key(), party)
	return nil
}

// whyNoPod asks after a moment only: a pod that is replaced is missing too, and an event of an hour ago would be taken for the cause.
func (d denials) whyNoPod(ctx context.Context, seen observed, statefulSet *appsv1.StatefulSet) denied {
	party := "StatefulSet " + statefulSet.Name
	awaited := decide.Wait{Party: party, Reason: decide.AwaitingInstance, Message: "its pod is not there yet", Again: podPatience}
	missing := seen.now.Sub(d.memory.Missing(seen.key(), party, seen.now))
	if !decide.LookedAt(statefulSet) {
		awaited.Again = 0 // that Kubernetes has looked stands in the StatefulSet, which is watched
	}
	if !decide.LookedAt(statefulSet) || missing < podPatience {
		return denied{maker: statefulSet, wait: awaited, standing: denial.Lasting}
	}
	message, err := d.events(ctx, statefulSet)
	if err != nil {
		// Why there is no pod is not known then; that there is none is said all the same.
		log.FromContext(ctx).V(1).Info("the events of a StatefulSet cannot be read", "statefulSet", statefulSet.Name, "error", err.Error())
	}
	if message == "" {
		awaited.Again = min(max(missing, 2*podPatience), longestPause)
		return denied{maker: statefulSet, wait: awaited, standing: denial.Lasting}
	}
	return d.judge(ctx, statefulSet, party, message)
}

// judge says what a denial is about, and whether it is over.
func (d denials) judge(ctx context.Context, maker client.Object, party, message string) denied {
	excess, isQuota := denial.ExcessOf(message)
	standing := denial.Unknown
	if isQuota {
		standing = d.standing(ctx, maker.GetNamespace(), excess)
	}
	wait := decide.Wait{Party: party, Reason: decide.PodCreationDenied, Message: "its pods are not made: " + kube.ExplainMessage(message).String(), Again: 2 * podPatience}
	if standing == denial.Over {
		wait.Reason = decide.AwaitingInstance
		wait.Message = "its pods are not made yet: ResourceQuota " + excess.Quota + ", which denied them, has room or is gone, and Kubernetes is prompted to try again"
	}
	return denied{maker: maker, wait: wait, standing: standing}
}

func (d denials) standing(ctx context.Context, namespace string, excess denial.Excess) denial.Standing {
	quota, err := d.quotas(ctx, namespace, excess.Quota)
	if err != nil {
		log.FromContext(ctx).V(1).Info("a ResourceQuota cannot be read", "resourceQuota", excess.Quota, "error", err.Error())
		return denial.Unknown
	}
	return excess.Standing(quota)
}
