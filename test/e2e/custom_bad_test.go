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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/test/corpus"
	"pgtls.dev/pgtls/test/harness"
)

const verdictLimit = 30 * time.Second

// customBad puts every wrong case of the corpus into the Secrets of a living cluster, one by one and under load: each is refused
// for its own reason, what is presented goes on, and nothing is lost. "make test": one case of four; "make soak": all of them.
func customBad(s *story) {
	namespace := "e2e-" + s.name
	hosts := corpus.Names{
		Instance: []string{"hippo-primary." + namespace + ".svc", "hippo-replicas." + namespace + ".svc"},
		Pooler:   []string{"hippo-pgbouncer." + namespace + ".svc", "hippo-pool." + namespace + ".svc"},
	}
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2).With(followSoon).With(func(spec *v1beta1.PostgresClusterSpec) {
		spec.TLS.Adoption = v1beta1.AdoptImmediate // no client is there yet to be waited for
		spec.TLS.Server = &v1beta1.ServerTLSSpec{
			Instances: &v1beta1.ServerCertificateSpec{DNSNames: hosts.Instance}, PGBouncer: &v1beta1.ServerCertificateSpec{DNSNames: hosts.Pooler},
		}
	}))
	pods := s.identities(c)
	good := s.goodOfEach(c, hosts)
	s.awaitFollower(c)
	before := s.presentedEverywhere(c)
	l := s.underLoad(c, light)

	refused, seen := 0, 0
	for _, wrong := range corpus.Cases(time.Now(), hosts) {
		if wrong.Want == "" || !bySecretAlone(wrong.Input, hosts) {
			continue
		}
		if seen++; seen%sized.oneBadCaseOf != 0 {
			continue
		}
		s.isQuarantined(c, wrong, good, before)
		refused++
	}
	s.fact("wrongCases", refused)
	if refused < sized.fewestBadCases {
		s.Errorf("only %d wrong cases were tried", refused)
	}
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
}

// bySecretAlone reports whether a case is wrong whatever else the spec and the operator's system say: those that lean on other
// trust, or on other names, are put to the real programs by "make corpus".
func bySecretAlone(in custom.Input, hosts corpus.Names) bool {
	names := map[custom.Role][]string{custom.Instance: hosts.Instance, custom.Pooler: hosts.Pooler}[in.Role]
	return in.Trust == nil && in.PeerTrust == nil && in.SystemRoots == nil && in.OtherNames == nil && (in.Role == custom.Replication || slices.Equal(in.Names, names))
}

// placeOf a role.
var placeOf = map[custom.Role]place{custom.Instance: serverPlace, custom.Replication: replicationPlace, custom.Pooler: poolerPlace}

func secretOf(p place) string { return strings.ToLower(p.condition) }

// goodOfEach has a good certificate presented in every place, and returns what their Secrets hold.
func (s *story) goodOfEach(c *living, hosts corpus.Names) map[string]map[string][]byte {
	s.Helper()
	company := harness.NewCompany("Company")
	good := map[string]map[string][]byte{}
	for role, p := range placeOf {
		var names []string
		switch role {
		case custom.Instance:
			names = append(hosts.Instance, "*.hippo-pods."+c.Namespace+".svc")
		case custom.Pooler:
			names = hosts.Pooler
		case custom.Replication:
		}
		data := company.Issue(p.name, p.usage, customLife, names...)
		s.write(c, secretOf(p), data)
		good[secretOf(p)] = data
		s.project(c, p, projectionOf(p, nil))
	}
	for _, p := range placeOf {
		s.awaitCustom(c, p)
	}
	return good
}

func projectionOf(p place, items []custom.Item) *corev1.SecretProjection {
	projection := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secretOf(p)}}
	for _, item := range items {
		projection.Items = append(projection.Items, corev1.KeyToPath{Key: item.Key, Path: item.Path})
	}
	return projection
}

// presentedEverywhere is what each party's process presents, by material.
func (s *story) presentedEverywhere(c *living) map[string]string {
	s.Helper()
	secrets, err := c.Secrets(s.Context())
	s.must(err)
	out := map[string]string{}
	for _, secret := range secrets {
		if served := secret.Data[agentapi.ServedCertificate]; served != nil {
			out[secret.Name] = serialOf(served) + " " + serialOf(secret.Data[agentapi.PresentedCertificate])
		}
	}
	return out
}

// isQuarantined brings a wrong Secret and takes it back.
func (s *story) isQuarantined(c *living, wrong corpus.Case, good map[string]map[string][]byte, before map[string]string) {
	s.Helper()
	p := placeOf[wrong.Input.Role]
	s.write(c, secretOf(p), wrong.Input.Data)
	if len(wrong.Input.Items) > 0 {
		s.project(c, p, projectionOf(p, wrong.Input.Items))
	}
	s.verdict(c, p, wrong.Name, func(condition metav1.Condition) bool {
		return condition.Status == metav1.ConditionFalse && condition.Reason == string(wrong.Want) &&
			strings.Contains(condition.Message, secretOf(p)) && strings.Contains(condition.Message, "the pods keep presenting") && !strings.Contains(condition.Message, "\n")
	})
	if diff := cmp.Diff(before, s.presentedEverywhere(c)); diff != "" {
		s.Errorf("%s: something else is presented (-before +after):\n%s", wrong.Name, diff)
	}
	s.write(c, secretOf(p), good[secretOf(p)])
	if len(wrong.Input.Items) > 0 {
		s.project(c, p, projectionOf(p, nil))
	}
	s.verdict(c, p, wrong.Name+", taken back", func(condition metav1.Condition) bool { return condition.Reason == "Presented" })
}

func (s *story) verdict(c *living, p place, name string, is func(metav1.Condition) bool) {
	s.Helper()
	err := harness.Await(s.Context(), "the verdict on "+name, verdictLimit, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err.Error()
		}
		condition := meta.FindStatusCondition(cluster.Status.Conditions, p.condition)
		if condition == nil || !is(*condition) {
			return fmt.Sprintf("%+v", condition)
		}
		return ""
	})
	if err != nil {
		s.Error(err)
	}
}
