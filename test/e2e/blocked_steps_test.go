//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

// An obstacle makes one step fail for good. Everything else goes on meanwhile: each other leaf is renewed by its timer, and the
// status names object, cause and remedy. Once the cause is gone the cluster converges by itself.
type obstacle struct {
	name    string
	of      string // the cluster whose status names it; "" for the one under load
	raise   func(*blocked)
	names   []string // what the status must name: the object and the cause
	spares  func(pod string) bool
	remove  func(*blocked)
	restore func(*blocked) // what the cluster converges to
}

// blocked is a cluster under load with obstacles in its way.
type blocked struct {
	*story
	cluster *living
	load    *load
	removal []func()
}

// Leaves live 3 minutes and are renewed about every half minute. "make test": at least 3,000 connections in all; "make soak": 10,000.
func blockedSteps(s *story) {
	object := s.cluster().WithInstances(2).WithPoolers(1).LeafLife(3*time.Minute, 150*time.Second).Build()
	object.Spec.TLS.Rotation = &v1beta1.RotationSpec{RetireSoak: ptr.To(v1beta1.SoakDuration("0s"))}
	cluster := s.created(object)
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	b := &blocked{story: s, cluster: s.withClient(cluster, object)}
	b.load = s.underLoad(b.cluster, sized.pace)
	s.Cleanup(b.removeAll)
	causes := map[string]string{}
	for _, o := range obstacles() {
		causes[o.name] = b.overcome(o)
	}
	s.eventually(fmt.Sprintf("%d connections", sized.blockedConnections), 10*time.Minute, func(context.Context) string {
		if tried := b.load.counts().Sum().Tried; tried < sized.blockedConnections {
			return fmt.Sprintf("%d so far", tried)
		}
		return ""
	})
	b.load.end()
	s.fact("causes", causes)
	s.fact("expired", len(b.expired()))
}

func obstacles() []obstacle {
	return []obstacle{
		{name: "no Secret may be created", raise: (*blocked).noFurtherSecret, remove: (*blocked).unblock,
			names: []string{"hippo-server-ca-g2", "QuotaExceeded"}, restore: func(b *blocked) { b.awaitGeneration(b.cluster, "server", 2) }},
		{name: "an admission policy rejects one object", raise: (*blocked).materialIsDenied, remove: (*blocked).unblock,
			names: []string{"hippo-00-1-tls"}, spares: func(pod string) bool { return pod != "hippo-00-1-0" }},
		{name: "the clients' ConfigMap is immutable", raise: (*blocked).immutableConfigMap, remove: (*blocked).deleteConfigMap,
			names: []string{"hippo-ca"}, restore: func(b *blocked) { b.awaitGeneration(b.cluster, "server", 3) }},
		{name: "a Secret that is not the cluster's has the name of the next generation", raise: (*blocked).nextNameIsTaken, remove: (*blocked).freeName,
			names: []string{"hippo-client-ca-g2"}, restore: (*blocked).clientRekeyed},
		{name: "no Service may be created", of: "rhino", raise: (*blocked).noService, remove: (*blocked).unblock,
			names: []string{"rhino-primary", "AdmissionDenied"}, restore: (*blocked).rhinoIsReady},
		{name: "the operator's role lacks a verb", raise: (*blocked).roleLacksVerb, remove: (*blocked).unblock,
			names: []string{"PodDisruptionBudget", "Forbidden"}, restore: (*blocked).budgetIsBack},
	}
}

// overcome raises an obstacle, looks on for a while, removes it, and returns what the status said.
func (b *blocked) overcome(o obstacle) string {
	b.Helper()
	o.raise(b)
	said := ""
	b.eventually("what is in the way to be named: "+o.name, time.Minute, func(ctx context.Context) string {
		cluster := &v1beta1.PostgresCluster{}
		if err := kube.Get(ctx, client.ObjectKey{Namespace: b.cluster.Namespace, Name: cmp.Or(o.of, b.cluster.Name)}, cluster); err != nil {
			return err.Error()
		}
		var missing string
		said, missing = naming(cluster, o.names)
		return missing
	})
	b.othersAreRenewed(o)
	if expired := b.expired(); len(expired) > 0 {
		b.Errorf("%s: these have expired: %v", o.name, expired)
	}
	o.remove(b)
	if o.restore != nil {
		o.restore(b)
	}
	b.awaitSteady(b.cluster, b.load.deliveries, 3*time.Minute)
	return said
}

// naming is the first condition or blocker that names everything, and what is missing when there is none.
func naming(cluster *v1beta1.PostgresCluster, names []string) (said, missing string) {
	var all []string
	for _, c := range cluster.Status.Conditions {
		all = append(all, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	if tls := cluster.Status.TLS; tls != nil {
		for _, blocker := range tls.Blockers {
			all = append(all, fmt.Sprintf("%s %s: %s", blocker.Party, blocker.Reason, blocker.Message))
		}
	}
	for _, text := range all {
		if !slices.ContainsFunc(names, func(name string) bool { return !strings.Contains(text, name) }) {
			return text, ""
		}
	}
	return "", fmt.Sprintf("nothing names %q in:\n%s", names, strings.Join(all, "\n"))
}

// othersAreRenewed waits until each pod that the obstacle does not concern serves new leaves, one after the other: by their
// timers, long before what they served has ended.
func (b *blocked) othersAreRenewed(o obstacle) {
	b.Helper()
	spares := o.spares
	if spares == nil {
		spares = func(string) bool { return true }
	}
	for range sized.blockedRenewals {
		before := b.load.deliveries.Serving()
		maps.DeleteFunc(before, func(pod, _ string) bool { return !spares(pod) })
		b.must(b.load.deliveries.AwaitNew(b.Context(), before, 100*time.Second))
	}
}

// expired are the endpoints that were last proven to serve a certificate which has ended.
func (b *blocked) expired() (names []string) {
	b.Helper()
	cluster, err := b.cluster.Get(b.Context())
	b.must(err)
	for _, e := range cluster.Status.TLS.Endpoints {
		if e.NotAfter != nil && e.NotAfter.Time.Before(time.Now()) {
			names = append(names, e.Name)
		}
	}
	return names
}

// whenRemoved notes what takes the obstacle away, at the latest when the story ends.
func (b *blocked) whenRemoved(undo func()) { b.removal = append(b.removal, undo) }

func (b *blocked) unblock() { b.removeAll() }

func (b *blocked) removeAll() {
	for _, undo := range slices.Backward(b.removal) {
		undo()
	}
	b.removal = nil
}

// put creates an object that stands in the way until the obstacle is removed.
func (b *blocked) put(object client.Object) {
	b.Helper()
	b.must(client.IgnoreNotFound(kube.Delete(b.Context(), object.DeepCopyObject().(client.Object)))) // of a run that was cut short
	b.must(kube.Create(b.Context(), object))
	b.whenRemoved(func() {
		if err := client.IgnoreNotFound(kube.Delete(context.WithoutCancel(b.Context()), object)); err != nil {
			b.Errorf("removing %T %s: %v", object, object.GetName(), err)
		}
	})
}

func (b *blocked) noFurtherSecret() {
	b.Helper()
	secrets := &corev1.SecretList{}
	b.must(kube.List(b.Context(), secrets, client.InNamespace(b.cluster.Namespace)))
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: b.cluster.Namespace, Name: "no-further-secret"}}
	quota.Spec.Hard = corev1.ResourceList{"count/secrets": *resource.NewQuantity(int64(len(secrets.Items)), resource.DecimalSI)}
	b.put(quota)
	b.eventually("the quota to be in force", time.Minute, func(ctx context.Context) string {
		var seen corev1.ResourceQuota
		if err := kube.Get(ctx, client.ObjectKeyFromObject(quota), &seen); err != nil {
			return err.Error()
		}
		if _, known := seen.Status.Used["count/secrets"]; !known {
			return "it was not counted yet"
		}
		return ""
	})
	b.annotate(b.cluster, rotateAnnotation, "server:blocked-2")
}

// denies puts a policy in the way of the operator's writes of some objects, and waits until the API server enforces it.
func (b *blocked) denies(name string, verbs []admissionv1.OperationType, group, resources, expression string, probe func(context.Context) error) {
	b.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec.FailurePolicy = ptr.To(admissionv1.Fail)
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: b.cluster.Namespace}},
		ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: verbs, Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resources}},
		}}},
	}
	policy.Spec.Validations = []admissionv1.Validation{{Expression: expression, Message: "a story says no"}}
	b.put(policy)
	b.put(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
	}})
	b.eventually("the policy to be enforced", time.Minute, func(ctx context.Context) string {
		if err := probe(ctx); err == nil || !strings.Contains(err.Error(), "a story says no") {
			return fmt.Sprintf("a write got %v", err)
		}
		return ""
	})
}

func (b *blocked) materialIsDenied() {
	b.Helper()
	b.denies("pgtls-story-material", []admissionv1.OperationType{admissionv1.Update}, "", "secrets", `object.metadata.name != "hippo-00-1-tls"`, func(ctx context.Context) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.cluster.Namespace, Name: "hippo-00-1-tls"}}
		return kube.Patch(ctx, secret, client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"annotations": {"story": "probes"}}}`)), client.DryRunAll)
	})
}

func (b *blocked) immutableConfigMap() {
	b.Helper()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.cluster.Namespace, Name: "hippo-ca"}}
	b.must(kube.Patch(b.Context(), config, client.RawPatch("application/merge-patch+json", []byte(`{"immutable": true}`))))
	b.annotate(b.cluster, rotateAnnotation, "server:blocked-3")
}

func (b *blocked) deleteConfigMap() {
	b.Helper()
	b.must(kube.Delete(b.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.cluster.Namespace, Name: "hippo-ca"}}))
}

func (b *blocked) nextNameIsTaken() {
	b.Helper()
	b.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.cluster.Namespace, Name: "hippo-client-ca-g2"}, StringData: map[string]string{"a": "user's"}})
	b.annotate(b.cluster, rotateAnnotation, "client:blocked-2")
}

func (b *blocked) freeName() { b.unblock() }

// clientRekeyed: the generation that the client domain ends with need not be the one whose name was taken.
func (b *blocked) clientRekeyed() {
	b.Helper()
	b.eventually("the re-key of the client domain", rekeyLimit, func(ctx context.Context) string {
		cluster, err := b.cluster.Get(ctx)
		if err != nil || cluster.Status.TLS == nil {
			return fmt.Sprint("no status: ", err)
		}
		for _, a := range cluster.Status.TLS.Authorities {
			if a.Active && strings.HasPrefix(a.Name, "client-") && a.Name != "client-g1" && len(cluster.Status.TLS.Rekeys) == 0 {
				return ""
			}
		}
		return fmt.Sprintf("%+v", cluster.Status.TLS.Authorities)
	})
}

// noService: a second cluster cannot have its Services. Everything else of it is made, and the first one notices nothing.
func (b *blocked) noService() {
	b.Helper()
	b.denies("pgtls-story-services", []admissionv1.OperationType{admissionv1.Create}, "", "services", "false", func(ctx context.Context) error {
		return kube.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: b.cluster.Namespace, Name: "probe"},
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}, client.DryRunAll)
	})
	object := harness.NewCluster(b.cluster.Namespace, "rhino").WithInstances(1).Build()
	_, err := harness.Create(b.Context(), kube, object)
	b.must(err)
	b.eventually("the StatefulSet of a cluster without Services", time.Minute, func(ctx context.Context) string {
		if err := kube.Get(ctx, client.ObjectKey{Namespace: b.cluster.Namespace, Name: "rhino-00-0"}, &appsv1.StatefulSet{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (b *blocked) rhinoIsReady() {
	b.Helper()
	rhino := &harness.Cluster{Kube: kube, Namespace: b.cluster.Namespace, Name: "rhino"}
	b.must(rhino.AwaitReady(b.Context(), firstRolloutLimit))
	b.must(kube.Delete(b.Context(), &v1beta1.PostgresCluster{ObjectMeta: metav1.ObjectMeta{Namespace: rhino.Namespace, Name: rhino.Name}}))
}

// roleLacksVerb takes from the operator what it needs to make a budget again that is gone.
func (b *blocked) roleLacksVerb() {
	b.Helper()
	role := &rbacv1.ClusterRole{}
	b.must(kube.Get(b.Context(), client.ObjectKey{Name: harness.OperatorName}, role))
	before := role.DeepCopy()
	for i, rule := range role.Rules {
		if slices.Contains(rule.Resources, "poddisruptionbudgets") {
			role.Rules[i].Verbs = slices.DeleteFunc(rule.Verbs, func(verb string) bool { return verb == "create" || verb == "patch" })
		}
	}
	b.must(kube.Update(b.Context(), role))
	b.whenRemoved(func() {
		before.ResourceVersion = ""
		if err := kube.Update(context.WithoutCancel(b.Context()), before); err != nil {
			b.Errorf("giving the operator its role back: %v", err)
		}
	})
	b.must(kube.DeleteAllOf(b.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(b.cluster.Namespace), client.MatchingLabels{harness.ClusterLabel: "hippo"}))
}

func (b *blocked) budgetIsBack() {
	b.Helper()
	b.eventually("the disruption budgets", time.Minute, func(ctx context.Context) string {
		var budgets policyv1.PodDisruptionBudgetList
		if err := kube.List(ctx, &budgets, client.InNamespace(b.cluster.Namespace), client.MatchingLabels{harness.ClusterLabel: "hippo"}); err != nil {
			return err.Error()
		}
		if len(budgets.Items) == 0 {
			return "there is none"
		}
		return ""
	})
}
