//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

// Instances are added and taken away, a pod is deleted, the primary dies, and
// all the while certificates are renewed every half minute.
func membersComeAndGo(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(1).WithPoolers(2).
		LeafLife(3*time.Minute, 150*time.Second).FailingOverWithin(20 * time.Second))
	targets := []harness.Target{c.Service("primary"), c.Service("pgbouncer")}
	sessions, err := c.client.KeepSessions(s.Context(), targets, 3)
	s.must(err)
	connecting, err := c.client.Connect(s.Context(), targets, harness.Rates{Pgx: 8, Psql: 0.5, Pgbench: 2})
	s.must(err)
	first, err := c.Serials(s.Context())
	s.must(err)

	s.scaled(c, 3)
	s.scaled(c, 2)
	s.replicaDeleted(c)
	s.renewedSince(c, first)

	// Up to here nothing that an application talks to has ended.
	s.must(connecting.Stop())
	s.must(sessions.Stop())
	s.figures.SessionsOpened, s.figures.SessionsLost = sessions.Opened(), len(sessions.Lost())
	if lost := sessions.Lost(); len(lost) > 0 {
		s.Errorf("%d sessions were lost:\n%s", len(lost), harness.Telling(lost, 5))
	}
	if failures := connecting.Failures(); len(failures) > 0 {
		s.Errorf("%d connections failed although the primary and the poolers were there:\n%s", len(failures), harness.Telling(failures, 10))
	}

	s.survivesTheDeathOfThePrimary(c, connecting)
}

// survivesTheDeathOfThePrimary keeps connecting by the two ways that outlive a primary: through the poolers, which hold
// clients until there is another one, and to whichever instance answers.
func (s *story) survivesTheDeathOfThePrimary(c *living, before *harness.Connecting) {
	s.Helper()
	instances, err := c.Instances(s.Context())
	s.must(err)
	ways := []harness.Target{c.Service("pgbouncer"), c.AnyInstance(instances)}
	connecting, err := c.client.Connect(s.Context(), ways,
		harness.Rates{Pgx: 8, Psql: 0.5, Pgbench: 2, Patience: time.Minute})
	s.must(err)
	s.awaitTried(connecting, ways, 3) // both ways work

	outage := s.primaryKilled(c)
	s.awaitTried(connecting, ways, 5) // to the new primary
	s.must(connecting.Stop())
	first, then := before.SoFar(), connecting.SoFar()
	s.figures.Connections, s.figures.Failed = first.Tried+then.Tried, first.Failed+then.Failed
	s.judge(connecting.Failures(), outage)
}

func (s *story) scaled(c *living, instances int) {
	s.Helper()
	begun := time.Now()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		cluster.Spec.Instances[0].Replicas = ptr.To(int32(instances))
	}))
	s.must(c.AwaitReady(s.Context(), firstRolloutLimit))
	s.eventually(fmt.Sprintf("%d pods", instances), readyLimit, func(ctx context.Context) string {
		pods, err := c.Instances(ctx)
		if err != nil {
			return err.Error()
		}
		if len(pods) != instances {
			return fmt.Sprintf("there are %d", len(pods))
		}
		return ""
	})
	s.fact(fmt.Sprintf("secondsToScaleTo%d", instances), time.Since(begun).Round(time.Second).Seconds())
}

func (s *story) replicaDeleted(c *living) {
	s.Helper()
	replica := s.replica(c)
	s.must(kube.Delete(s.Context(), &replica))
	s.eventually("another pod in place of "+replica.Name, readyLimit, func(ctx context.Context) string {
		var now corev1.Pod
		if err := kube.Get(ctx, client.ObjectKeyFromObject(&replica), &now); err != nil {
			return err.Error()
		}
		if now.UID == replica.UID {
			return "it is the old one"
		}
		return ""
	})
	s.must(c.AwaitReady(s.Context(), readyLimit))
}

func (s *story) replica(c *living) corev1.Pod {
	s.Helper()
	primary, err := c.Primary(s.Context())
	s.must(err)
	instances, err := c.Instances(s.Context())
	s.must(err)
	for _, pod := range instances {
		if pod.Name != primary.Name {
			return pod
		}
	}
	s.Fatal("there is no replica")
	return corev1.Pod{}
}

// renewedSince waits until every leaf of before is replaced; those of instances that are gone are gone.
func (s *story) renewedSince(c *living, before map[string]string) {
	s.Helper()
	s.eventually("a renewal of every leaf", readyLimit, func(ctx context.Context) string {
		now, err := c.Serials(ctx)
		if err != nil {
			return err.Error()
		}
		for secret, serial := range before {
			if now[secret] == serial {
				return secret + " still holds its first leaf"
			}
		}
		return ""
	})
}

// An outage is the time in which there is no primary.
type outage struct {
	killed, recovered time.Time
}

// primaryKilled lets the primary die without a word, keeps its pod from coming back at once, and waits
// until a replica has taken over and the cluster is whole again.
func (s *story) primaryKilled(c *living) outage {
	s.Helper()
	primary, err := c.Primary(s.Context())
	s.must(err)
	full := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "no-more-pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	s.must(kube.Create(s.Context(), full))
	s.eventually("the quota to hold", readyLimit, func(ctx context.Context) string {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(full), full); err != nil {
			return err.Error()
		}
		if len(full.Status.Hard) == 0 {
			return "it is not yet seen"
		}
		return ""
	})

	o := outage{killed: time.Now()}
	s.must(kube.Delete(s.Context(), &primary, client.GracePeriodSeconds(0)))
	s.eventually("a failover", readyLimit, func(ctx context.Context) string {
		now, err := c.Primary(ctx)
		switch {
		case err != nil:
			return err.Error()
		case now.Name == primary.Name:
			return "the dead one is still called the primary"
		}
		_, err = c.client.AsPrimary(ctx, "create temporary table proof ()")
		if err != nil {
			return err.Error()
		}
		return ""
	})
	o.recovered = time.Now()
	s.fact("secondsWithoutPrimary", o.recovered.Sub(o.killed).Round(100*time.Millisecond).Seconds())

	s.must(kube.Delete(s.Context(), full))
	s.must(c.AwaitReady(s.Context(), firstRolloutLimit))
	return o
}

// brokenOff is what pgx and libpq say of a connection whose server has died. PgBouncer calls it a config error when
// the server dies that it has just asked for the user's verifier, and an invalid server parameter when the dying server answers the
// SET of a client's parameters with an error.
var brokenOff = regexp.MustCompile(`(?i)unexpected eof|connection reset|server closed the connection|broken pipe|terminating connection|bouncer config error|invalid server parameter`)

// turnedAway is what PgBouncer hands on when the dying server still answers, and says that it is going.
var turnedAway = regexp.MustCompile(`(?i)server login has been failing|shutting down|starting up`)

// dying is how long the killed process may take to go, as seen by those that it held.
const dying = 4 * time.Second

// remembered is what PgBouncer says while no server can be reached, once a server has died in the middle of a login: from then on until
// a login succeeds it fails clients at once where it would have held them, and no setting has it forget. It tries each second.
var remembered = regexp.MustCompile(`server login has been failing, cached error: (connect failed|connect timeout|.*shutting down|.*starting up)`)

const forgetting = 2 * time.Second // after the recovery, as seen by PgBouncer

// judge excuses only the connections that the killed process itself held, or turned away with its last words, be it that PgBouncer
// goes on repeating them; those turned away count as failed.
func (s *story) judge(failures []harness.Failure, o outage) {
	s.Helper()
	var unexcused []harness.Failure
	held, refused, repeated := 0, 0, 0
	for _, failure := range failures {
		inTime := failure.At.After(o.killed) && failure.At.Before(o.killed.Add(dying))
		switch {
		case inTime && brokenOff.MatchString(failure.Error):
			held++
		case inTime && turnedAway.MatchString(failure.Error):
			refused++
		case refused > 0 && failure.At.Before(o.recovered.Add(forgetting)) && remembered.MatchString(failure.Error):
			repeated++
		default:
			unexcused = append(unexcused, failure)
		}
	}
	s.figures.Failed -= held
	s.fact("heldByTheKilledProcess", held)
	s.fact("turnedAwayByTheKilledProcess", refused)
	s.fact("turnedAwayByPgBouncersMemory", repeated)
	if len(unexcused) > 0 {
		s.Errorf("%d connections failed although the killed primary did not hold them (outage %s to %s):\n%s", len(unexcused),
			o.killed.Format("15:04:05"), o.recovered.Format("15:04:05"), harness.Telling(unexcused, 20))
	}
}
