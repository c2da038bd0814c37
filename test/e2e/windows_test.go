//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

const (
	windowLife   = time.Hour
	windowNotDue = time.Minute                 // renewBefore of leaves that are left alone
	windowDue    = windowLife - 30*time.Second // renewBefore of leaves that are due half a minute after they were issued, and never urgent here
	windowAhead  = 75 * time.Second            // what is to be shown before the window opens takes less
	windowLength = v1beta1.CertificateDuration("5m")
)

// A pause and a closed window hold a renewal that is due, and a window an authority that is to be replaced. What is urgent and what the user
// asks for goes through; when the window opens the rest is done.
func windowsAndPause(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(1).WithPoolers(1).LeafLife(windowLife, windowNotDue).With(planning(windowNotDue, v1beta1.RotationSpec{})))
	targets := []harness.Target{c.Service("pgbouncer"), c.Service("primary")}
	sessions, err := c.client.KeepSessions(s.Context(), targets, 2)
	s.must(err)
	deliveries, err := c.client.WatchDeliveries(s.Context())
	s.must(err)
	s.must(deliveries.AwaitEveryPod(s.Context()))
	connecting, err := c.client.Connect(s.Context(), targets, light.pooled)
	s.must(err)

	s.aPauseHolds(c, deliveries)
	s.aWindowHolds(c, deliveries)

	s.noneFailed("what they always held", connecting)
	s.must(sessions.Stop())
	s.must(deliveries.Stop())
	s.figures.SessionsOpened, s.figures.SessionsLost = sessions.Opened(), len(sessions.Lost())
	if lost := sessions.Lost(); len(lost) > 0 {
		s.Errorf("%d sessions were lost:\n%s", len(lost), harness.Telling(lost, 5))
	}
	if failures := deliveries.Failures(); len(failures) > 0 {
		s.Errorf("%d handshakes of the watch failed:\n%s", len(failures), harness.Telling(failures, 5))
	}
	if connecting.SoFar().Tried < 100 {
		s.Errorf("only %d connections were tried", connecting.SoFar().Tried)
	}
}

// planning sets when leaves are due and when what is planned may begin. Old authorities go as soon as nothing uses them.
func planning(renewBefore time.Duration, rotation v1beta1.RotationSpec) func(*v1beta1.PostgresClusterSpec) {
	rotation.RetireSoak = ptr.To(v1beta1.SoakDuration("0s"))
	return func(spec *v1beta1.PostgresClusterSpec) {
		before := ptr.To(v1beta1.CertificateDuration(fmt.Sprintf("%.0fs", renewBefore.Seconds())))
		tls := spec.TLS
		tls.Server.Instances.RenewBefore, tls.Server.PGBouncer.RenewBefore = before, before
		tls.Client.Replication.RenewBefore, tls.Client.PGBouncer.RenewBefore, tls.Client.Operator.RenewBefore = before, before, before
		tls.Rotation = &rotation
	}
}

// plans changes the cluster as a user does.
func (s *story) plans(c *living, how ...func(*v1beta1.PostgresClusterSpec)) {
	s.Helper()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		for _, change := range how {
			change(&cluster.Spec)
		}
	}))
}

func (s *story) aPauseHolds(c *living, d *harness.Deliveries) {
	s.Helper()
	serving, stored := d.Serving(), s.serials(c)
	s.plans(c, planning(windowDue, v1beta1.RotationSpec{Paused: true}))
	s.awaitBlocker(c, "RotationPaused", "client leaf of "+c.Name+"-operator-tls (Due)", "leaf of "+c.Name+"-pgbouncer-tls (Due)")
	s.same("what is stored in a pause", stored, s.serials(c))

	// Everything ends in less than two hours.
	s.plans(c, planning(windowDue, v1beta1.RotationSpec{Paused: true, UrgentBefore: ptr.To(v1beta1.CertificateDuration("2h"))}))
	s.must(d.AwaitNew(s.Context(), serving, readyLimit))
	s.plans(c, planning(windowNotDue, v1beta1.RotationSpec{}))
	s.awaitSteady(c, d, readyLimit)
}

func (s *story) aWindowHolds(c *living, d *harness.Deliveries) {
	s.Helper()
	opens := time.Now().UTC().Add(windowAhead).Truncate(time.Minute).Add(time.Minute)
	window := v1beta1.MaintenanceWindow{Schedule: opens.Format("4 15 2 1") + " *", Duration: windowLength}
	windows := v1beta1.RotationSpec{Windows: []v1beta1.MaintenanceWindow{window}}
	stored := s.serials(c)
	s.plans(c, planning(windowDue, windows), func(spec *v1beta1.PostgresClusterSpec) {
		spec.TLS.Server.Authority = &v1beta1.CertificateSpec{KeyAlgorithm: "ECDSA-P384"} // a planned re-key, which one does not bring about again
	})
	next := "the next window, which opens at " + opens.Format(time.RFC3339)
	s.awaitBlocker(c, "AwaitingWindow", next, "TrustNew server g2 (KeyAlgorithmChanged)")
	s.awaitBlocker(c, "AwaitingWindow", next, "leaf of "+c.Name+"-operator-tls (Due)", "leaf of "+c.Name+"-pgbouncer-tls (Due)")
	s.same("what is stored before the window opens", stored, s.serials(c))

	serving := d.Serving()
	s.must(c.RequestRenewal(s.Context()))
	s.must(d.AwaitNew(s.Context(), serving, readyLimit))
	answered, serving := time.Now(), d.Serving()
	if !answered.Before(opens) {
		s.Fatalf("the request was answered at %s, and whether for its own sake is unknown: the window opened at %s", answered, opens)
	}

	s.must(d.AwaitNew(s.Context(), serving, time.Until(opens)+readyLimit))
	s.fact("secondsFromOpeningUntilServed", d.Latest().Sub(opens).Round(100*time.Millisecond).Seconds())
	s.plans(c, planning(windowNotDue, windows))
	s.awaitGeneration(c, "server", 2)
	for _, delivery := range d.Done() {
		if delivery.Written.After(answered) && delivery.Written.Before(opens) {
			s.Errorf("pod %s got a leaf at %s, without a request, before the window opened at %s", delivery.Pod, delivery.Written, opens)
		}
	}
}

func (s *story) serials(c *living) map[string]string {
	s.Helper()
	serials, err := c.Serials(s.Context())
	s.must(err)
	return serials
}

// awaitBlocker waits until the status gives one blocker of a reason with all of these words.
func (s *story) awaitBlocker(c *living, reason string, words ...string) {
	s.Helper()
	s.eventually(reason+" with "+strings.Join(words, ", "), time.Minute, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil || cluster.Status.TLS == nil {
			return fmt.Sprintf("no status: %v", err)
		}
		said := func(b v1beta1.BlockerStatus) bool {
			return b.Reason == reason && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(b.Message, word) })
		}
		if !slices.ContainsFunc(cluster.Status.TLS.Blockers, said) {
			return fmt.Sprintf("%s, waiting for %+v", cluster.Status.TLS.State, cluster.Status.TLS.Blockers)
		}
		return ""
	})
}
