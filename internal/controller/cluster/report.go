package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
func (c *reconciler) report(ctx context.Context, r *round, status v1beta1.PostgresClusterStatus) error {
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

// postpone returns how long the report of a round waits at most: its state goes by itself, for this round has written objects whose watches
// wake the next one, or the TLS controller is about to publish what is waited for. A new cluster would have its status written after
// each of some rounds otherwise. 0: it is reported now, as everything is that failed, needs a person, or turned bad.
func (c *reconciler) postpone(key client.ObjectKey, cluster *v1beta1.PostgresCluster, status v1beta1.PostgresClusterStatus, done outcome, now time.Time) time.Duration {
	if !done.isTransient() || turnedBad(cluster, status) {
		c.attempts.Reported(key)
		return 0
	}
	since := c.attempts.Unreported(key, now)
	if pause := since.Add(c.patience).Sub(now); pause > 0 {
		return pause
	}
	c.attempts.Reported(key)
	return 0
}

// isTransient reports whether a state goes by itself, and a watch tells of it.
func (o outcome) isTransient() bool {
	awaited := slices.ContainsFunc(o.waits, func(w decide.Wait) bool { return w.Reason == decide.AwaitingMaterial })
	stuck := slices.ContainsFunc(o.waits, func(w decide.Wait) bool { return w.Reason.IsStuck() })
	return (o.wrote || awaited) && !stuck && len(o.failures) == 0 && !o.conflict
}

// turnedBad reports whether the status says that the cluster is ready, and it is not.
func turnedBad(cluster *v1beta1.PostgresCluster, status v1beta1.PostgresClusterStatus) bool {
	return meta.IsStatusConditionTrue(cluster.Status.Conditions, readyCondition) && !meta.IsStatusConditionTrue(status.Conditions, readyCondition)
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

// A line is one part of a condition's message.
type line struct {
	reason decide.Reason
	text   string
}

// progress says what is going on. What a user has to look after comes first: what is stuck, then what failed. What is waited for is left out
// then: it comes and goes, and each new message is an event. What is left alone comes last, and is no progress.
func progress(done outcome, ready metav1.Condition) metav1.Condition {
	stuck := linesOf(done.waits, decide.Reason.IsStuck)
	lines := stuck
	for _, failure := range done.failures {
		lines = append(lines, line{decide.StepFailed, failure.Message()})
	}
	if len(lines) == 0 {
		lines = linesOf(done.waits, func(r decide.Reason) bool { return !r.IsStuck() && !r.IsExpected() })
	}
	if len(lines) == 0 && ready.Status != metav1.ConditionTrue {
		lines = []line{{decide.Reason(ready.Reason), ready.Message}}
	}
	condition := metav1.Condition{Type: progressingCondition, Status: metav1.ConditionTrue}
	if len(stuck) > 0 || len(lines) == 0 {
		condition.Status = metav1.ConditionFalse
	}
	lines = append(lines, linesOf(done.waits, decide.Reason.IsExpected)...)
	if len(lines) == 0 {
		lines = []line{{decide.Settled, "everything is as the spec wants it"}}
	}
	condition.Reason, condition.Message = string(lines[0].reason), short(lines)
	return condition
}

func linesOf(waits []decide.Wait, which func(decide.Reason) bool) []line {
	var lines []line
	for _, wait := range waits {
		if which(wait.Reason) {
			lines = append(lines, line{wait.Reason, wait.Party + ": " + wait.Message})
		}
	}
	return lines
}

// short keeps a message in one line that a person reads to its end, and says each thing once.
func short(lines []line) string {
	const most = 5
	var parts []string
	for _, l := range lines {
		if !slices.Contains(parts, l.text) {
			parts = append(parts, l.text)
		}
	}
	if len(parts) > most {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	text := strings.ReplaceAll(strings.Join(parts, "; "), "\n", "; ")
	const longest = 1000
	return text[:min(len(text), longest)]
}
