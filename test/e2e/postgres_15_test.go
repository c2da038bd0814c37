//go:build e2e

package e2e

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

// The older PostgreSQL, with the older Patroni, gives the same; and a name that is added to its certificates is served.
func postgres15(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(2).WithPoolers(1).
		With(func(spec *v1beta1.PostgresClusterSpec) { spec.PostgresVersion = 15 }))
	s.runsVersion(c, "15.")
	s.everyClientConnects(c)
	s.sessionsAreEncrypted(c)
	s.plaintextIsRefused(c)
	s.aNewNameIsServed(c)
}

func (s *story) runsVersion(c *living, prefix string) {
	s.Helper()
	rows, err := c.client.AsPrimary(s.Context(), "show server_version")
	s.must(err)
	if len(rows) != 1 || !strings.HasPrefix(rows[0], prefix) {
		s.Errorf("server_version is %v, want %s", rows, prefix)
	}
}

// aNewNameIsServed: libpq verifies every instance under a name that only the spec knows.
func (s *story) aNewNameIsServed(c *living) {
	s.Helper()
	const name = "db.example.org"
	before := s.podsOf(c)
	login := func(pod corev1.Pod) harness.Login {
		return harness.Login{Target: harness.Target{Name: pod.Name, Host: name, Port: "5432"}, Address: pod.Status.PodIP}
	}
	instances, err := c.Instances(s.Context())
	s.must(err)
	for _, pod := range instances {
		if _, err := c.client.Query(s.Context(), login(pod), "select 1"); err == nil {
			s.Errorf("%s was verified as %s before a client asked for that name", pod.Name, name)
		}
	}
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		cluster.Spec.TLS = &v1beta1.TLSSpec{Server: &v1beta1.ServerTLSSpec{
			Instances: &v1beta1.ServerCertificateSpec{DNSNames: []string{name}},
		}}
	}))
	for _, pod := range instances {
		s.eventually(pod.Name+" verified as "+name, readyLimit, func(ctx context.Context) string {
			if _, err := c.client.Query(ctx, login(pod), "select 1"); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	s.samePods(before, s.podsOf(c))
}

// samePods: a certificate changes and no pod does.
func (s *story) samePods(before, after []corev1.Pod) {
	s.Helper()
	started := func(pods []corev1.Pod) map[string]string {
		facts := map[string]string{}
		for _, pod := range pods {
			for _, status := range pod.Status.ContainerStatuses {
				facts[string(pod.UID)+" "+status.Name] = status.ContainerID
			}
		}
		return facts
	}
	now := started(after)
	for container, id := range started(before) {
		if now[container] != id {
			s.Errorf("container %s was restarted", container)
		}
	}
}
