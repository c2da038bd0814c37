//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/test/harness"
)

// The lives are chosen so that a leaf that was delivered is not due again before the operator is back,
// and the one that it replaces comes into its last sixth, from which on agents go ahead by themselves.
const (
	awayLife        = 4 * time.Minute
	awayRenewBefore = 80 * time.Second
	awayDeliverAt   = 80 * time.Second // after the leaves were issued
	awayGoAhead     = 3 * time.Minute  // until an agent has gone ahead: the kubelet's own delay comes first
)

// The operator dies in the middle of a renewal, and comes back; then it is
// away past a renewal time, and leaves that were delivered come into use without it.
func operatorAway(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(2).WithPoolers(1).LeafLife(awayLife, awayRenewBefore))
	l := s.underLoad(c, light)
	s.diesInTheMiddle(c, l)
	s.isAwayPastARenewal(c, l)
	l.end()
}

// diesInTheMiddle: each leaf is renewed once for one request, whatever happens to the operator.
func (s *story) diesInTheMiddle(c *living, l *load) {
	s.Helper()
	before := l.renewals()
	serving := l.deliveries.Serving()
	s.must(c.RequestRenewal(s.Context()))
	s.eventually("the first leaf to be served", time.Minute, func(context.Context) string {
		if len(l.renewals()) == 0 || fmt.Sprint(l.renewals()) == fmt.Sprint(before) {
			return "no pod serves a new one"
		}
		return ""
	})
	s.must(kube.KillOperator(s.Context()))
	s.must(kube.AwaitOperator(s.Context()))
	s.must(l.deliveries.AwaitNew(s.Context(), serving, readyLimit))
	s.awaitSteady(c, l.deliveries, readyLimit)
	for pod, count := range l.renewals() {
		if count-before[pod] != 1 {
			s.Errorf("pod %s got %d leaves for one request", pod, count-before[pod])
		}
	}
}

func (s *story) isAwayPastARenewal(c *living, l *load) {
	s.Helper()
	issued := l.deliveries.Latest()
	due := issued.Add(awayLife - awayRenewBefore)
	allow := s.forbidActivation(c)
	defer allow()
	time.Sleep(time.Until(issued.Add(awayDeliverAt)))
	stored, err := c.Serials(s.Context())
	s.must(err)
	serving := l.deliveries.Serving()

	s.must(c.RequestRenewal(s.Context()))
	var delivered string // Secret
	s.eventually("a leaf that is delivered and not activated", time.Minute, func(ctx context.Context) string {
		delivered = s.changedInstance(c, stored)
		if delivered == "" {
			return "no Secret of an instance was written"
		}
		return ""
	})
	s.must(kube.ScaleOperator(s.Context(), 0))
	s.same("what is served while nothing can be activated", serving, l.deliveries.Serving())
	kept, err := c.Serials(s.Context())
	s.must(err)

	pod := strings.TrimSuffix(delivered, "-tls") + "-0"
	s.eventually("the agent of "+pod+" to go ahead by itself", awayGoAhead, func(context.Context) string {
		if l.deliveries.Serving()[pod] != kept[delivered] {
			return "it serves the old leaf"
		}
		return ""
	})
	s.fact("secondsUntilAgentWentAhead", time.Since(issued).Round(time.Second).Seconds())
	time.Sleep(time.Until(due))

	allow()
	returned := time.Now()
	s.must(kube.ScaleOperator(s.Context(), 1))
	s.must(l.deliveries.AwaitNew(s.Context(), serving, readyLimit))
	s.awaitSteady(c, l.deliveries, readyLimit)
	s.fact("secondsToConvergeOnReturn", time.Since(returned).Round(100*time.Millisecond).Seconds())
	now, err := c.Serials(s.Context())
	s.must(err)
	if now[delivered] != kept[delivered] {
		s.Errorf("%s was issued anew although its leaf was good: %s became %s", delivered, kept[delivered], now[delivered])
	}
}

func (s *story) changedInstance(c *living, before map[string]string) string {
	now, err := c.Serials(s.Context())
	s.must(err)
	for secret, serial := range now {
		if serial != before[secret] && !strings.HasSuffix(secret, "-pgbouncer-tls") && !strings.HasSuffix(secret, "-operator-tls") {
			return secret
		}
	}
	return ""
}

// forbidActivation lets the operator write Secrets and no pod, in the cluster's namespace, until the returned function is called.
func (s *story) forbidActivation(c *living) (allow func()) {
	s.Helper()
	name := "pgtls-e2e-no-activation"
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: ptr.To(admissionv1.Fail),
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": c.Namespace}},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				}}},
			},
			Validations: []admissionv1.Validation{{
				Expression: fmt.Sprintf("!request.userInfo.username.startsWith('system:serviceaccount:%s:')", harness.OperatorNamespace),
				Message:    "a story forbids this",
			}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}
	allow = func() {
		ctx := context.WithoutCancel(s.Context())
		s.must(client.IgnoreNotFound(kube.Delete(ctx, binding.DeepCopy())))
		s.must(client.IgnoreNotFound(kube.Delete(ctx, policy.DeepCopy())))
	}
	allow() // what an interrupted run has left
	s.must(kube.Create(s.Context(), policy.DeepCopy()))
	s.must(kube.Create(s.Context(), binding.DeepCopy()))
	return allow
}
