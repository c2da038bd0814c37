//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

const (
	revocationGoal  = 2 * time.Second  // from the user's wish to the last PostgreSQL that refuses
	revocationLimit = 15 * time.Second // with more, the kubelets were not triggered: their own time is 17 to 68 s
	deliveryLimit   = 3 * time.Minute  // a kubelet's minute, and the next one's
)

// alice and bob log in by client certificate alone; everybody else by password.
func withApplications(spec *v1beta1.PostgresClusterSpec) {
	spec.Users = []v1beta1.UserSpec{{Name: "hippo", Databases: []v1beta1.DatabaseName{"hippo"}}}
	for _, name := range []string{"alice", "bob"} {
		spec.Users = append(spec.Users, v1beta1.UserSpec{
			Name: name, Databases: []v1beta1.DatabaseName{"zoo"}, ClientCertificate: &v1beta1.ClientCertificateSpec{Required: true},
		})
	}
}

// clientCertificates issues, renews and revokes certificates of two applications that connect all the time.
func clientCertificates(s *story) {
	object := s.cluster().WithInstances(3).WithPoolers(2).With(withApplications).Build()
	cluster := s.created(object)
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	started, err := cluster.StartClient(s.Context(), images, "alice", "bob")
	s.must(err)
	s.must(started.AwaitStreaming(s.Context(), 2))
	c := &living{Cluster: cluster, client: started}
	s.awaitAccounts(c, "alice", "bob")
	s.passwordsAreRefused(c, "alice")
	pods := s.identities(c)

	l := s.underLoad(c, light)
	alice, bob := s.applicationUnderLoad(c, "alice"), s.applicationUnderLoad(c, "bob")

	first := s.certificateOf(c, "alice")
	s.annotate(c, "pgtls.dev/renew-requested-at", "now")
	s.awaitAnotherCertificate(c, "alice", first)
	s.awaitDelivered(c, "alice")
	s.awaitDelivered(c, "bob")
	s.awaitSteady(c, l.deliveries, readyLimit)
	s.settleFor(alice, bob)
	bob.noneFailed("bob, whose certificate was renewed")

	stolen := s.keep(c, "bob")
	s.accepted(c, "bob", stolen)
	watch := s.watchRefusal(c, "bob", stolen)
	revoked := time.Now()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		certificateOf(cluster, "bob").RevokeIssuedBefore = &metav1.Time{Time: revoked}
	}))
	s.refusedWithin(watch(), revoked)
	s.must(c.AwaitReady(s.Context(), readyLimit))
	s.awaitDelivered(c, "bob")
	again := s.connectAs(c, "bob")
	s.settleFor(alice)
	s.must(again.Stop())
	if sum := again.SoFar(); sum.Tried == 0 || sum.Failed > 0 {
		s.Errorf("with his new certificate bob failed %d of %d times:\n%s", sum.Failed, sum.Tried, harness.Telling(again.Failures(), 5))
	}
	bob.ended()

	lone := s.keep(c, "alice")
	alice.noneFailed("alice, while bob's certificate was revoked")
	alice.noneLost("alice")
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		for i := range cluster.Spec.Users {
			if cluster.Spec.Users[i].Name == "alice" {
				cluster.Spec.Users[i].ClientCertificate = nil
			}
		}
	}))
	s.awaitRefused(c, "alice", lone)
	s.awaitSecretGone(c, "hippo-pguser-alice-cert")
	s.refused(c, "bob", stolen)
	s.awaitSteady(c, l.deliveries, readyLimit)
	l.end()
	s.same("pods and restarts", pods, s.identities(c))
}

func certificateOf(cluster *v1beta1.PostgresCluster, user string) *v1beta1.ClientCertificateSpec {
	i := slices.IndexFunc(cluster.Spec.Users, func(u v1beta1.UserSpec) bool { return u.Name == user })
	return cluster.Spec.Users[i].ClientCertificate
}

// files are where a client pod has a certificate and its key.
type files struct{ certificate, key string }

func mounted(user string) files {
	return files{harness.UserDir(user) + "/tls.crt", harness.UserDir(user) + "/tls.key"}
}

// loginTo is a connection string for psql, by certificate.
func loginTo(target harness.Target, user string, f files) string {
	return fmt.Sprintf("host=%s port=%s user=%s dbname=zoo sslmode=verify-full sslrootcert=/ca/ca.crt connect_timeout=10 sslcert=%s sslkey=%s",
		target.Host, target.Port, user, f.certificate, f.key)
}

// logInAs presents a certificate to one instance and tells why it was refused; "" when it was not.
func (s *story) logInAs(ctx context.Context, c *living, pod, user string, f files) string {
	_, err := c.client.Run(ctx, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--command", "select 1", loginTo(c.InstanceTarget(pod), user, f))
	return saidBy(err)
}

func (s *story) instanceNames(c *living) (names []string) {
	s.Helper()
	pods, err := c.Instances(s.Context())
	s.must(err)
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return names
}

func (s *story) accepted(c *living, user string, f files) {
	s.Helper()
	for _, pod := range s.instanceNames(c) {
		if answer := s.logInAs(s.Context(), c, pod, user, f); answer != "" {
			s.Errorf("%s refuses %s: %s", pod, user, answer)
		}
	}
}

// refused: for the reason that it is revoked.
func (s *story) refused(c *living, user string, f files) {
	s.Helper()
	for _, pod := range s.instanceNames(c) {
		if answer := s.logInAs(s.Context(), c, pod, user, f); !strings.Contains(answer, "certificate revoked") {
			s.Errorf("%s says %q to a revoked certificate of %s", pod, answer, user)
		}
	}
}

func (s *story) awaitRefused(c *living, user string, f files) {
	s.Helper()
	s.eventually("the certificate of "+user+" refused", readyLimit, func(ctx context.Context) string {
		for _, pod := range s.instanceNames(c) {
			if answer := s.logInAs(ctx, c, pod, user, f); !strings.Contains(answer, "certificate revoked") {
				return fmt.Sprintf("%s says %q", pod, answer)
			}
		}
		return ""
	})
}

// awaitAccounts waits until users log in everywhere with what is mounted. A role is made some moments after its Secret.
func (s *story) awaitAccounts(c *living, users ...string) {
	s.Helper()
	s.eventually("users with certificates", readyLimit, func(ctx context.Context) string {
		for _, user := range users {
			for _, pod := range s.instanceNames(c) {
				if answer := s.logInAs(ctx, c, pod, user, mounted(user)); answer != "" {
					return fmt.Sprintf("%s says %s to %s", pod, answer, user)
				}
			}
		}
		return ""
	})
}

// passwordsAreRefused: a user who must present a certificate has no other way in, neither directly nor through the pooler.
func (s *story) passwordsAreRefused(c *living, user string) {
	s.Helper()
	password, err := c.client.Run(s.Context(), "cat", harness.UserDir(user)+"/password")
	s.must(err)
	for _, target := range []harness.Target{c.Service("primary"), c.Service("replicas"), c.Service("pgbouncer")} {
		facts := fmt.Sprintf("host=%s port=%s user=%s dbname=zoo password=%s sslmode=verify-full sslrootcert=/ca/ca.crt connect_timeout=10 sslcert=none", target.Host, target.Port, user, password)
		if _, err := c.client.Run(s.Context(), "psql", "--no-psqlrc", "--command", "select 1", facts); err == nil {
			s.Errorf("%s lets %s in by password", target.Name, user)
		}
	}
}

// An applicationLoad is a user with a certificate who connects all the time and keeps sessions.
type applicationLoad struct {
	story      *story
	connecting *harness.Connecting
	sessions   *harness.Sessions
}

func (s *story) connectAs(c *living, user string) *harness.Connecting {
	s.Helper()
	connecting, err := c.client.As(user).Connect(s.Context(), s.directTargets(c), harness.Rates{Pgx: 2, Psql: 0.5})
	s.must(err)
	return connecting
}

// directTargets are all but the pooler, which passes no certificates on.
func (s *story) directTargets(c *living) []harness.Target {
	s.Helper()
	targets, err := c.Targets(s.Context())
	s.must(err)
	return slices.DeleteFunc(targets, func(t harness.Target) bool { return t.Name == "pgbouncer" })
}

func (s *story) applicationUnderLoad(c *living, user string) *applicationLoad {
	s.Helper()
	sessions, err := c.client.As(user).KeepSessions(s.Context(), s.directTargets(c), 2)
	s.must(err)
	return &applicationLoad{story: s, connecting: s.connectAs(c, user), sessions: sessions}
}

// settleFor lets each connect some more times.
func (s *story) settleFor(loads ...*applicationLoad) {
	s.Helper()
	for _, load := range loads {
		enough := load.connecting.SoFar().Tried + 50
		s.eventually("50 more connections", readyLimit, func(context.Context) string {
			if tried := load.connecting.SoFar().Tried; tried < enough {
				return fmt.Sprintf("%d of %d", tried, enough)
			}
			return ""
		})
	}
}

func (a *applicationLoad) noneFailed(who string) {
	a.story.Helper()
	if failures := a.connecting.Failures(); len(failures) > 0 {
		sum := a.connecting.SoFar()
		a.story.Errorf("%s: %d of %d connections failed:\n%s", who, sum.Failed, sum.Tried, harness.Telling(failures, 10))
	}
}

// noneLost ends the load of a user who was left alone.
func (a *applicationLoad) noneLost(who string) {
	s := a.story
	s.Helper()
	s.must(a.connecting.Stop())
	s.must(a.sessions.Stop())
	a.noneFailed(who)
	if lost := a.sessions.Lost(); len(lost) > 0 {
		s.Errorf("%s lost %d of %d sessions:\n%s", who, len(lost), a.sessions.Opened(), harness.Telling(lost, 10))
	}
	sum := a.connecting.SoFar()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.figures.Connections += sum.Tried
	s.figures.SessionsOpened += a.sessions.Opened()
}

// ended checks that the sessions of a user whose certificate was revoked are over, all of them.
func (a *applicationLoad) ended() {
	s := a.story
	s.Helper()
	s.must(a.connecting.Stop())
	s.must(a.sessions.Stop())
	opened, lost := a.sessions.Opened(), len(a.sessions.Lost())
	s.fact("sessionsEndedByRevocation", fmt.Sprintf("%d of %d", lost, opened))
	if lost != opened || opened == 0 {
		s.Errorf("%d of %d sessions that came in with a revoked certificate were ended", lost, opened)
	}
	s.fact("refusedWithRevokedCertificate", a.connecting.SoFar().Failed)
}

// certificateOf is what stands in a user's Secret.
func (s *story) certificateOf(c *living, user string) string {
	s.Helper()
	var secret corev1.Secret
	s.must(kube.Get(s.Context(), client.ObjectKey{Namespace: c.Namespace, Name: c.Name + "-pguser-" + user + "-cert"}, &secret))
	return string(secret.Data["tls.crt"])
}

func (s *story) awaitAnotherCertificate(c *living, user, before string) {
	s.Helper()
	s.eventually("another certificate of "+user, readyLimit, func(context.Context) string {
		if s.certificateOf(c, user) == before {
			return "it is the same"
		}
		return ""
	})
}

// awaitDelivered waits until the kubelet has brought what stands in a user's Secret.
func (s *story) awaitDelivered(c *living, user string) {
	s.Helper()
	s.eventually("the certificate of "+user+" in its pod", deliveryLimit, func(ctx context.Context) string {
		held, err := c.client.Run(ctx, "cat", mounted(user).certificate)
		if err != nil || held != strings.TrimSpace(s.certificateOf(c, user)) {
			return fmt.Sprintf("not yet (%v)", err)
		}
		return ""
	})
}

// keep copies what a user has, as a thief would.
func (s *story) keep(c *living, user string) files {
	s.Helper()
	kept := files{"/tmp/stolen-" + user + ".crt", "/tmp/stolen-" + user + ".key"}
	_, err := c.client.Run(s.Context(), "sh", "-c", fmt.Sprintf("umask 077 && cat %s >%s && cat %s >%s", mounted(user).certificate, kept.certificate, mounted(user).key, kept.key))
	s.must(err)
	return kept
}

// watchRefusal logs in at each instance again and again until it is refused, and tells when that was, on the clock of the node,
// which is this machine's.
func (s *story) watchRefusal(c *living, user string, f files) (refusals func() map[string]string) {
	s.Helper()
	const loop = `: >"/tmp/watched-$1"; end=$(($(date +%s) + 60)); while [ $(date +%s) -lt $end ]; do
		said=$(psql --no-psqlrc --quiet --tuples-only --command "select 1" "$0" 2>&1)
		case $said in *"certificate revoked"*) echo "$(date +%s%3N) $said"; exit 0;; esac
		sleep 0.02
	done`
	var wait sync.WaitGroup
	var mu sync.Mutex
	told := map[string]string{}
	for _, pod := range s.instanceNames(c) {
		wait.Go(func() {
			out, err := c.client.Run(s.Context(), "sh", "-c", loop, loginTo(c.InstanceTarget(pod), user, f), user+"-"+pod)
			mu.Lock()
			defer mu.Unlock()
			if told[pod] = out; err != nil {
				told[pod] = "0 " + err.Error()
			}
		})
	}
	s.eventually("a client at each instance", readyLimit, func(ctx context.Context) string {
		for _, pod := range s.instanceNames(c) {
			if _, err := c.client.Run(ctx, "test", "-e", "/tmp/watched-"+user+"-"+pod); err != nil {
				return "none at " + pod
			}
		}
		return ""
	})
	return func() map[string]string {
		wait.Wait()
		return told
	}
}

func (s *story) refusedWithin(refusals map[string]string, since time.Time) {
	s.Helper()
	taken := map[string]time.Duration{}
	var all []time.Duration
	for pod, told := range refusals {
		stamp, said, _ := strings.Cut(told, " ")
		at, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || at == 0 || !strings.Contains(said, "certificate revoked") {
			s.Errorf("%s was not seen to refuse the revoked certificate: %q", pod, told)
			continue
		}
		taken[pod] = time.UnixMilli(at).Sub(since)
		all = append(all, taken[pod])
	}
	s.fact("revokedToRefusedMs", milliseconds(taken))
	s.fact("revocationGoalMet", len(all) > 0 && slices.Max(all) <= revocationGoal)
	if len(all) > 0 && slices.Max(all) > revocationLimit {
		s.Errorf("it took %s until every PostgreSQL refused, want at most %s", slices.Max(all), revocationLimit)
	}
}

func (s *story) awaitSecretGone(c *living, name string) {
	s.Helper()
	s.eventually("Secret "+name+" gone", readyLimit, func(ctx context.Context) string {
		var secret corev1.Secret
		if err := kube.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, &secret); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("it is there (%v)", err)
		}
		return ""
	})
}
