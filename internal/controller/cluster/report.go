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
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
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
	status := statusOf(r.seen.cluster, r.seen.facts, done)
	now := metav1.NewTime(c.now().Truncate(0))
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = now
		status.Conditions[i].ObservedGeneration = r.seen.cluster.Generation
	}
	changed, err := c.applier.ApplyStatus(ctx, r.seen.cluster, status, "observedGeneration", "readyInstances", "instances", "proxy")
	if changed && err == nil {
		r.events.tellOfTrouble(status)
	}
	return err
}

// tellOfTrouble makes an event when what stops the cluster is new.
func (t teller) tellOfTrouble(status v1beta1.PostgresClusterStatus) {
	now := meta.FindStatusCondition(status.Conditions, progressingCondition)
	before := meta.FindStatusCondition(t.cluster.Status.Conditions, progressingCondition)
	if before != nil && before.Reason == now.Reason && before.Message == now.Message {
		return
	}
	if reason := decide.Reason(now.Reason); reason.IsStuck() || reason == decide.StepFailed {
		t.warn(reason, "Reconcile", now.Message)
	}
}

func statusOf(cluster *v1beta1.PostgresCluster, seen facts, done outcome) v1beta1.PostgresClusterStatus {
	all := decide.Members(desired.Instances(cluster), seen.instances(), nil)
	status := v1beta1.PostgresClusterStatus{
		ObservedGeneration: cluster.Generation,
		Instances:          countSets(cluster, all),
		Proxy:              countPoolers(cluster, seen),
	}
	ready := readiness(cluster, seen, all, done.waits)
	status.Conditions = []metav1.Condition{ready, progress(done, ready)}
	wanted := decide.Filter(all, func(m decide.Member) bool { return m.Wanted })
	status.ReadyInstances = fmt.Sprintf("%d/%d", len(decide.Filter(wanted, func(m decide.Member) bool { return m.Ready })), len(wanted))
	return status
}

func countSets(cluster *v1beta1.PostgresCluster, all []decide.Member) []v1beta1.InstanceSetStatus {
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
func readiness(cluster *v1beta1.PostgresCluster, seen facts, all []decide.Member, waits []decide.Wait) metav1.Condition {
	condition := metav1.Condition{Type: readyCondition, Status: metav1.ConditionFalse}
	denied := slices.IndexFunc(waits, func(w decide.Wait) bool { return w.Reason == decide.PodCreationDenied })
	set := func(reason decide.Reason, format string, args ...any) metav1.Condition {
		condition.Reason, condition.Message = string(reason), fmt.Sprintf(format, args...)
		return condition
	}
	lacking := func(reason decide.Reason, format string, args ...any) metav1.Condition {
		if denied >= 0 { // no patience brings what a quota or a policy denies
			return set(decide.PodCreationDenied, "%s: %s", waits[denied].Party, waits[denied].Message)
		}
		return set(reason, format, args...)
	}
	if _, ok := decide.First(all, func(m decide.Member) bool { return m.Primary && m.Ready }); !ok {
		return lacking(decide.NoPrimary, "no instance is a primary that is ready")
	}
	for _, m := range all {
		if m.Wanted && !m.Ready {
			return lacking(decide.InstancesNotReady, "instance %s is not ready", m.Instance)
		}
	}
	if pooler := desired.Pooler(cluster); pooler != nil {
		want, have := ptr.Deref(pooler.Replicas, 1), countPoolers(cluster, seen).PGBouncer.ReadyReplicas
		if have < want {
			return lacking(decide.PoolersNotReady, "%d of %d poolers are ready", have, want)
		}
	}
	condition.Status = metav1.ConditionTrue
	return set(decide.AllReady, "every instance and pooler is ready")
}

// progress says what is going on. What a user has to look after comes first: what is stuck, then what failed. What is waited for is left out
// then: it comes and goes, and each new message is an event.
func progress(done outcome, ready metav1.Condition) metav1.Condition {
	condition := metav1.Condition{Type: progressingCondition, Status: metav1.ConditionTrue}
	var parts []string
	note := func(reason decide.Reason, text string) {
		if len(parts) == 0 {
			condition.Reason = string(reason)
		}
		if !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	for _, wait := range done.waits {
		if wait.Reason.IsStuck() {
			note(wait.Reason, wait.Party+": "+wait.Message)
			condition.Status = metav1.ConditionFalse
		}
	}
	for _, failure := range done.failures {
		note(decide.StepFailed, failure.Message())
	}
	attention := len(parts) > 0
	for _, wait := range done.waits {
		if !wait.Reason.IsStuck() && !attention {
			note(wait.Reason, wait.Party+": "+wait.Message)
		}
	}
	switch {
	case len(parts) > 0:
		condition.Message = short(parts)
	case ready.Status != metav1.ConditionTrue:
		condition.Reason, condition.Message = ready.Reason, ready.Message
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, string(decide.Settled), "everything is as the spec wants it"
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
