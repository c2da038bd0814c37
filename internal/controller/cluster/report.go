package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/desired"
)

// Conditions of this controller.
const (
	readyCondition       = "Ready"
	progressingCondition = "Progressing"
)

// report writes this controller's part of the status, once in a round and only when it differs, and tells of a
// cluster that got stuck.
func (c *reconciler) report(ctx context.Context, r *round, done outcome) error {
	status := statusOf(r.cluster, r.facts, done)
	now := metav1.NewTime(c.now().Truncate(0))
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = now
		status.Conditions[i].ObservedGeneration = r.cluster.Generation
	}
	changed, err := c.applier.ApplyStatus(ctx, r.cluster, status, "observedGeneration", "readyInstances", "instances", "proxy")
	if changed && err == nil {
		r.tellOfTrouble(status)
	}
	return err
}

// tellOfTrouble makes an event when what stops the cluster is new.
func (r *round) tellOfTrouble(status v1beta1.PostgresClusterStatus) {
	now := meta.FindStatusCondition(status.Conditions, progressingCondition)
	before := meta.FindStatusCondition(r.cluster.Status.Conditions, progressingCondition)
	if before != nil && before.Reason == now.Reason && before.Message == now.Message {
		return
	}
	if reason := Reason(now.Reason); stuck[reason] || reason == StepFailed {
		r.warn(reason, "Reconcile", now.Message)
	}
}

func statusOf(cluster *v1beta1.PostgresCluster, seen facts, done outcome) v1beta1.PostgresClusterStatus {
	all := members(desired.Instances(cluster), seen, nil)
	status := v1beta1.PostgresClusterStatus{
		ObservedGeneration: cluster.Generation,
		Instances:          countSets(cluster, all),
		Proxy:              countPoolers(cluster, seen),
	}
	ready := readiness(cluster, seen, all, done.waits)
	status.Conditions = []metav1.Condition{ready, progress(done, ready)}
	wanted := filter(all, func(m member) bool { return m.Wanted })
	status.ReadyInstances = fmt.Sprintf("%d/%d", len(filter(wanted, func(m member) bool { return m.Ready })), len(wanted))
	return status
}

func countSets(cluster *v1beta1.PostgresCluster, all []member) []v1beta1.InstanceSetStatus {
	var sets []v1beta1.InstanceSetStatus
	for _, set := range cluster.Spec.Instances {
		count := v1beta1.InstanceSetStatus{Name: set.Name}
		for _, m := range all {
			if m.Set != set.Name || !m.Exists {
				continue
			}
			count.Replicas++
			if m.Ready {
				count.ReadyReplicas++
			}
			if !m.Outdated {
				count.UpdatedReplicas++
			}
		}
		sets = append(sets, count)
	}
	return sets
}

func countPoolers(cluster *v1beta1.PostgresCluster, seen facts) *v1beta1.ProxyStatus {
	if desired.Pooler(cluster) == nil {
		return nil
	}
	status := &v1beta1.ProxyStatus{}
	if seen.pooler != nil {
		status.PGBouncer.Replicas = seen.pooler.Status.Replicas
		status.PGBouncer.ReadyReplicas = seen.pooler.Status.ReadyReplicas
	}
	return status
}

// readiness says whether applications have what the spec promises them.
func readiness(cluster *v1beta1.PostgresCluster, seen facts, all []member, waits []Wait) metav1.Condition {
	condition := metav1.Condition{Type: readyCondition, Status: metav1.ConditionFalse}
	denied := slices.IndexFunc(waits, func(w Wait) bool { return w.Reason == PodCreationDenied })
	set := func(reason Reason, format string, args ...any) metav1.Condition {
		condition.Reason, condition.Message = string(reason), fmt.Sprintf(format, args...)
		return condition
	}
	lacking := func(reason Reason, format string, args ...any) metav1.Condition {
		if denied >= 0 { // no patience brings what a quota or a policy denies
			return set(PodCreationDenied, "%s: %s", waits[denied].Party, waits[denied].Message)
		}
		return set(reason, format, args...)
	}
	if _, ok := first(all, func(m member) bool { return m.Primary && m.Ready }); !ok {
		return lacking(NoPrimary, "no instance is a primary that is ready")
	}
	for _, m := range all {
		if m.Wanted && !m.Ready {
			return lacking(InstancesNotReady, "instance %s is not ready", m.Instance)
		}
	}
	if pooler := desired.Pooler(cluster); pooler != nil {
		want, have := ptr.Deref(pooler.Replicas, 1), countPoolers(cluster, seen).PGBouncer.ReadyReplicas
		if have < want {
			return lacking(PoolersNotReady, "%d of %d poolers are ready", have, want)
		}
	}
	condition.Status = metav1.ConditionTrue
	return set(AllReady, "every instance and pooler is ready")
}

// stuck are the reasons that no patience helps.
var stuck = map[Reason]bool{SpecInvalid: true, ForeignObject: true, OwnedByAnotherController: true, NotLabelled: true, PodCreationDenied: true}

// progress says what is going on. What a user has to look after comes first: what is stuck, then what failed. What is waited for is left out
// then: it comes and goes, and each new message is an event.
func progress(done outcome, ready metav1.Condition) metav1.Condition {
	condition := metav1.Condition{Type: progressingCondition, Status: metav1.ConditionTrue}
	var parts []string
	note := func(reason Reason, text string) {
		if len(parts) == 0 {
			condition.Reason = string(reason)
		}
		if !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	for _, wait := range done.waits {
		if stuck[wait.Reason] {
			note(wait.Reason, wait.Party+": "+wait.Message)
			condition.Status = metav1.ConditionFalse
		}
	}
	for _, failure := range done.failures {
		note(StepFailed, failure.message())
	}
	attention := len(parts) > 0
	for _, wait := range done.waits {
		if !stuck[wait.Reason] && !attention {
			note(wait.Reason, wait.Party+": "+wait.Message)
		}
	}
	switch {
	case len(parts) > 0:
		condition.Message = short(parts)
	case ready.Status != metav1.ConditionTrue:
		condition.Reason, condition.Message = ready.Reason, ready.Message
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, string(Settled), "everything is as the spec wants it"
	}
	return condition
}

// short keeps a message in one line that a person reads to its end.
func short(parts []string) string {
	const most = 5
	if len(parts) > most {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	text := strings.ReplaceAll(strings.Join(parts, "; "), "\n", "; ")
	const longest = 1000
	return text[:min(len(text), longest)]
}
