//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

// Wrong input is rejected in one line with the remedy, objects of other owners are left alone, and a quota that denies pods is named.
// Every rule of the CRD has its test in test/envtest; here stand the cases that a user meets first.
func badInput(s *story) {
	s.wrongSpecsAreRefused()
	s.foreignSecretIsLeftAlone()
	s.quotaDeniesPods()
}

func (s *story) wrongSpecsAreRefused() {
	s.Helper()
	s.must(kube.RemoveNamespace(s.Context(), "e2e-"+s.name))
	s.must(kube.EnsureNamespace(s.Context(), "e2e-"+s.name))
	tests := []struct {
		wrong         *harness.Builder
		field, remedy string
	}{
		{s.cluster().LeafLife(time.Hour, 2*time.Hour), "renewBefore", "shorten renewBefore"},
		{s.cluster().With(func(spec *v1beta1.PostgresClusterSpec) { spec.PostgresVersion = 12 }), "spec.postgresVersion", "supported values"},
		{s.cluster().With(func(spec *v1beta1.PostgresClusterSpec) {
			spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{Instances: &v1beta1.ServerCertificateSpec{DNSNames: []string{"db.example.com."}}}}
		}), "dnsNames", "trailing dot"},
		{s.cluster().With(func(spec *v1beta1.PostgresClusterSpec) {
			spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{
				Authority: &v1beta1.CertificateSpec{Duration: ptr.To[v1beta1.CertificateDuration]("4h")},
				Instances: &v1beta1.ServerCertificateSpec{CertificateSpec: v1beta1.CertificateSpec{Duration: ptr.To[v1beta1.CertificateDuration]("2h")}},
			}}
		}), "spec.tls.server", "lengthen the authority"},
		{s.cluster().With(func(spec *v1beta1.PostgresClusterSpec) {
			spec.TLS = &v1beta1.TLSSpec{Client: &v1beta1.ClientTLSSpec{Operator: &v1beta1.CertificateSpec{KeyAlgorithm: "Ed25519"}}}
		}), "spec.tls.client.operator.keyAlgorithm", "supported values"},
	}
	for _, test := range tests {
		s.isRefused(test.wrong, test.field, test.remedy)
	}
	s.fact("wrongSpecs", len(tests))
}

func (s *story) isRefused(wrong *harness.Builder, field, remedy string) {
	s.Helper()
	object := wrong.Build()
	err := kube.Create(s.Context(), object)
	if err == nil {
		s.must(kube.Delete(s.Context(), object))
		s.Errorf("a wrong %s was accepted", field)
		return
	}
	if message := err.Error(); !strings.Contains(message, field) || !strings.Contains(message, remedy) || strings.Contains(message, "\n") {
		s.Errorf("want one line with %q and %q, got: %s", field, remedy, message)
	}
}

// foreignSecretIsLeftAlone: the user has a Secret of the name that the poolers' material would get.
func (s *story) foreignSecretIsLeftAlone() {
	s.Helper()
	wanted := s.cluster().WithInstances(1).WithPoolers(1)
	namespace := wanted.Build().Namespace
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hippo-pgbouncer-tls"},
		StringData: map[string]string{"important": "to the user"},
	}
	s.must(kube.Create(s.Context(), foreign))
	cluster, err := harness.Create(s.Context(), kube, wanted.Build())
	s.must(err)
	s.Cleanup(func() { removeInBackground(s.T, namespace) })
	s.Cleanup(func() { explainFailure(s.T, cluster) })

	s.eventually("the condition that names the Secret", firstRolloutLimit, func(ctx context.Context) string { return saysForeign(ctx, cluster) })
	s.eventually("the event that names the Secret", readyLimit, func(ctx context.Context) string { return eventSays(ctx, cluster, foreign.Name) })
	s.eventually("the instance, which has nothing to do with it", firstRolloutLimit, func(ctx context.Context) string { return instanceNotReady(ctx, cluster) })
	s.isUntouched(foreign)

	// The remedy is in the message: remove it, and the rest follows.
	s.must(kube.Delete(s.Context(), foreign))
	s.must(cluster.AwaitReady(s.Context(), readyLimit))
}

func saysForeign(ctx context.Context, c *harness.Cluster) string {
	cluster, err := c.Get(ctx)
	if err != nil {
		return err.Error()
	}
	condition := meta.FindStatusCondition(cluster.Status.Conditions, "TLSReady")
	if condition == nil {
		return "no condition TLSReady"
	}
	if condition.Status != metav1.ConditionFalse || condition.Reason != "ForeignSecret" || !strings.Contains(condition.Message, "hippo-pgbouncer") {
		return "TLSReady is " + string(condition.Status) + " " + condition.Reason + ": " + condition.Message
	}
	return ""
}

func eventSays(ctx context.Context, c *harness.Cluster, name string) string {
	events, err := c.Events(ctx)
	if err != nil {
		return err.Error()
	}
	about := func(e harness.Event) bool {
		return e.Reason == "ForeignSecret" && strings.Contains(e.Message, name)
	}
	if !slices.ContainsFunc(events, about) {
		return "no event Refused with ForeignSecret and the name"
	}
	return ""
}

func instanceNotReady(ctx context.Context, c *harness.Cluster) string {
	cluster, err := c.Get(ctx)
	if err != nil {
		return err.Error()
	}
	if cluster.Status.ReadyInstances != "1/1" {
		return "ready instances: " + cluster.Status.ReadyInstances
	}
	return ""
}

// quotaDeniesPods: there is no room for the pods of a second cluster. The conditions name quota and resource, the column TLS claims
// nothing, and the cluster starts soon after the quota has room: Kubernetes itself would try again after up to 1,000 s.
func (s *story) quotaDeniesPods() {
	s.Helper()
	namespace := s.cluster().Build().Namespace
	cpu := func(text string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse(text)}
	}
	s.must(kube.Create(s.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "defaults"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
		}}},
	}))
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: cpu("500m")}}
	s.must(kube.Create(s.Context(), quota))
	s.eventually("the quota to be counted", readyLimit, func(ctx context.Context) string {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(quota), quota); err != nil || quota.Status.Used == nil {
			return fmt.Sprint("its use is not known: ", err)
		}
		return ""
	})
	cluster, err := harness.Create(s.Context(), kube, harness.NewCluster(namespace, "rhino").WithInstances(1).Build())
	s.must(err)
	s.eventually("the condition that names the quota", firstRolloutLimit, func(ctx context.Context) string { return saysDenied(ctx, cluster) })

	s.must(kube.Get(s.Context(), client.ObjectKeyFromObject(quota), quota))
	quota.Spec.Hard = cpu("20")
	s.must(kube.Update(s.Context(), quota))
	began := time.Now()
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	s.fact("secondsFromRoomUntilReady", time.Since(began).Round(time.Second).Seconds())
}

func saysDenied(ctx context.Context, c *harness.Cluster) string {
	cluster, err := c.Get(ctx)
	if err != nil {
		return err.Error()
	}
	condition := meta.FindStatusCondition(cluster.Status.Conditions, "Ready")
	if condition == nil || condition.Reason != "PodCreationDenied" {
		return fmt.Sprintf("Ready is %+v", condition)
	}
	for _, word := range []string{"StatefulSet", "rhino-00-0", "QuotaExceeded", "few", "limits.cpu"} {
		if !strings.Contains(condition.Message, word) {
			return fmt.Sprintf("the message lacks %q: %s", word, condition.Message)
		}
	}
	if tls := cluster.Status.TLS; tls == nil || tls.State == "Steady" {
		return fmt.Sprintf("the column TLS claims that all is well: %+v", tls)
	}
	return ""
}

func (s *story) isUntouched(before *corev1.Secret) {
	s.Helper()
	var now corev1.Secret
	s.must(kube.Get(s.Context(), client.ObjectKeyFromObject(before), &now))
	if now.ResourceVersion != before.ResourceVersion {
		s.Errorf("the user's Secret was written to:\n%s", cmp.Diff(before, &now))
	}
}
