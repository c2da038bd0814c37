//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/harness"
)

const taintAnnotation = "pgtls.dev/taint"

// An authority that must not be trusted any longer goes at once: no soak, and no bridge, by which its key would still open doors.
func taint(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(3).WithPoolers(2)) // with a soak of 14 days
	pods := s.identities(c)
	l := s.beginLoad(c, light, withoutConnections)
	copied, tainted := s.bundleOf(c), s.authority(c, "server", 1)
	oldOnly := s.trusting(c, "old", copied)
	asked := time.Now()
	s.annotate(c, taintAnnotation, "server-g1")
	both := s.whileBoth(c, "server", copied)
	s.awaitGeneration(c, "server", 2)
	s.fact("taintedGoneMs", harness.SpreadOf([]time.Duration{time.Since(asked)}))
	newOnly := s.trusting(c, "new", s.bundleOf(c))
	s.tried(100, both, newOnly)
	s.noneFailed("both", both)
	s.noneFailed("the new one alone", newOnly)
	s.allRefuse(c, oldOnly)
	s.awaitFollower(c)
	following, err := c.client.Connect(s.Context(), []harness.Target{c.Service("pgbouncer"), c.Service("primary")}, harness.Rates{Pgx: 4, Psql: 1})
	s.must(err)
	s.tried(50, following)
	s.noneFailed("what the ConfigMap gave them", following)
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
	s.refusedEverywhere(c, "server", tainted)
	s.acceptedEverywhere(c, "server", s.authority(c, "server", 2))
	s.withoutBridges(c)
}

// tried waits until clients have made some more connections.
func (s *story) tried(n int, all ...*harness.Connecting) {
	s.Helper()
	before := make([]int, len(all))
	for i, clients := range all {
		before[i] = clients.SoFar().Tried
	}
	s.eventually(fmt.Sprintf("%d connections of each", n), rekeyLimit, func(context.Context) string {
		for i, clients := range all {
			if now := clients.SoFar().Tried; now-before[i] < n {
				return fmt.Sprintf("%d so far", now-before[i])
			}
		}
		return ""
	})
}

// allRefuse: from now on these clients refuse whatever is served, and that is as it should be.
func (s *story) allRefuse(c *living, clients *harness.Connecting) {
	s.Helper()
	before := clients.SoFar()
	s.tried(20, clients)
	s.must(clients.Stop())
	after := clients.SoFar()
	// Attempts that had begun before may still be among them.
	if refused := after.Failed - before.Failed; refused < 15 {
		s.Errorf("clients that trust the tainted authority alone refused %d of %d connections: a bridge leads them on", refused, after.Tried-before.Tried)
	}
}

// withoutBridges: nothing that is presented leads to what was dropped.
func (s *story) withoutBridges(c *living) {
	s.Helper()
	secrets, err := c.Secrets(s.Context())
	s.must(err)
	for _, secret := range secrets {
		if chain := secret.Data["server.crt"]; strings.Count(string(chain), "BEGIN CERTIFICATE") > 1 {
			s.Errorf("%s presents a bridge", secret.Name)
		}
	}
}

// deletedSoak is how long clients that follow the ConfigMap have to take an authority that nothing vouches for: the
// kubelet brings it within a minute and a half.
const deletedSoak = v1beta1.SoakDuration("100s")

// Authorities are deleted. One whose key survives in the other Secret, or in the operator's memory, is restored; one that is lost is
// replaced, and no client that follows the ConfigMap notices.
func authorityDeleted(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(2).WithPoolers(1).With(func(spec *v1beta1.PostgresClusterSpec) {
		spec.TLS = &v1beta1.TLSSpec{Rotation: &v1beta1.RotationSpec{RetireSoak: ptr.To(deletedSoak)}}
	}))
	pods := s.identities(c)
	l := s.underLoad(c, light)
	for _, domain := range []string{"server", "client"} {
		var secret corev1.Secret
		s.must(kube.Get(s.Context(), s.authorityKey(c, domain, 1), &secret))
		s.authorityReturns(c, secret)
		s.bothReturn(c, domain, 1)
	}
	for _, domain := range []string{"server", "client"} {
		lost := s.authority(c, domain, 1)
		began := time.Now()
		s.loses(c, domain, 1)
		s.awaitGenerationWithin(c, domain, 2, 4*time.Minute)
		s.fact(domain+"ReplacedMs", harness.SpreadOf([]time.Duration{time.Since(began)}))
		s.refusedEverywhere(c, domain, lost)
		s.acceptedEverywhere(c, domain, s.authority(c, domain, 2))
	}
	s.awaitFollower(c)
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
}

func (s *story) authorityKey(c *living, domain string, generation int) client.ObjectKey {
	return client.ObjectKey{Namespace: c.Namespace, Name: fmt.Sprintf("%s-%s-ca-g%d", c.Name, domain, generation)}
}

// loses an authority for good: both Secrets are deleted while the operator, which remembers the key, is away.
func (s *story) loses(c *living, domain string, generation int) {
	s.Helper()
	s.must(kube.ScaleOperator(s.Context(), 0))
	key := s.authorityKey(c, domain, generation)
	for _, name := range []string{key.Name, key.Name + "-copy"} {
		s.must(kube.Delete(s.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name}}))
	}
	s.must(kube.ScaleOperator(s.Context(), 1))
}

// bothReturn: both Secrets of an authority are deleted at once while the operator runs, as by "kubectl delete secret --all".
func (s *story) bothReturn(c *living, domain string, generation int) {
	s.Helper()
	var before corev1.Secret
	key := s.authorityKey(c, domain, generation)
	s.must(kube.Get(s.Context(), key, &before))
	s.must(kube.Delete(s.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name + "-copy"}}))
	s.authorityReturns(c, before)
}

// The operator was away until both authorities, and with them all that they issued, had expired.
const (
	expiringAuthority = "3m"
	expiringLeaf      = "1m"
	recoveryLimit     = 2 * time.Minute
)

// Everything has expired: no verifier accepts any certificate, the operator and the agents included. It comes back, and all is well again
// without a restart.
func authorityExpired(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(2).WithPoolers(1).With(func(spec *v1beta1.PostgresClusterSpec) {
		lives := func(d v1beta1.CertificateDuration) *v1beta1.CertificateSpec {
			return &v1beta1.CertificateSpec{Duration: &d}
		}
		serves := &v1beta1.ServerCertificateSpec{CertificateSpec: *lives(expiringLeaf)}
		spec.TLS = &v1beta1.TLSSpec{
			Server: &v1beta1.ServerTLSSpec{Authority: lives(expiringAuthority), Instances: serves, PGBouncer: serves},
			Client: &v1beta1.ClientTLSSpec{Authority: lives(expiringAuthority), Replication: lives(expiringLeaf), PGBouncer: lives(expiringLeaf), Operator: lives(expiringLeaf)},
		}
	}))
	s.must(kube.ScaleOperator(s.Context(), 0))
	pods := s.identities(c)
	server, clients := s.authority(c, "server", 1), s.authority(c, "client", 1)
	time.Sleep(time.Until(server.Certificate.NotAfter.Add(2 * time.Second)))
	time.Sleep(time.Until(clients.Certificate.NotAfter.Add(2 * time.Second)))
	if _, err := c.client.Query(s.Context(), harness.Login{Target: c.Service("primary")}, "select 1"); err == nil {
		s.Error("a client accepts what has expired: this story shows nothing")
	}
	// From here on lives are as usual: the recovery is what is looked at.
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) { cluster.Spec.TLS = nil }))
	returned := time.Now()
	s.must(kube.ScaleOperator(s.Context(), 1))
	for _, domain := range []string{"server", "client"} {
		s.hasEvent(c, "AuthorityExpired", domain+" g1 has expired: ") // and which clients are refused
	}
	for _, domain := range []string{"server", "client"} {
		s.awaitGenerationWithin(c, domain, 2, recoveryLimit)
	}
	s.fact("secondsToRecover", time.Since(returned).Round(100*time.Millisecond).Seconds())
	s.same("pods and restarts", pods, s.identities(c))
	s.awaitFollower(c)
	s.must(c.client.AwaitStreaming(s.Context(), 1))
	l := s.underLoad(c, light)
	s.eventually("500 connections", 2*time.Minute, func(context.Context) string {
		if tried := l.counts().Sum().Tried; tried < 500 {
			return fmt.Sprintf("%d so far", tried)
		}
		return ""
	})
	l.end()
	for domain, expired := range map[string]*pki.Authority{"server": server, "client": clients} {
		if s.authority(c, domain, 2).Certificate.Equal(expired.Certificate) {
			s.Errorf("the %s authority is the old one", domain)
		}
	}
}
