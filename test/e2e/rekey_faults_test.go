//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

const (
	approveAnnotation  = "pgtls.dev/retire-approved"
	activateAnnotation = "pgtls.dev/activate"

	freezeLimit  = 25 * time.Second // a node that is silent for 40 s is given up
	roundsAtRest = 5                // of the operator, in which a rotation that waits asks for nothing more

	faultSeed        = 20310401
	spoiltOneInWrite = 5
	spoiltOneInReads = 10
	faultyLimit      = 3 * time.Minute
)

// What can go wrong around a re-key: members come and go, a pod does not get its files, the API server fails.
func rekeyFaults(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(2).WithPoolers(2).FailingOverWithin(20 * time.Second).With(approvedByHand))
	authorities := s.authoritiesOf(c)
	s.membersComeAndGoDuringARekey(c)
	s.aPodGetsNothingDuringARekey(c)
	s.theAPIServerFailsDuringARekey(c)
	authorities.end()
}

// approvedByHand keeps a re-key going until the user approves that the old authority is dropped.
func approvedByHand(spec *v1beta1.PostgresClusterSpec) {
	withoutSoak(spec)
	spec.TLS.Rotation.RetirePolicy = "Manual"
}

// membersComeAndGoDuringARekey: a replica's pod is deleted, another replica joins and the primary dies, all in one re-key.
func (s *story) membersComeAndGoDuringARekey(c *living) {
	s.Helper()
	targets := []harness.Target{c.Service("primary"), c.Service("pgbouncer")}
	connecting, err := c.client.Connect(s.Context(), targets, harness.Rates{Pgx: 8, Psql: 0.5, Pgbench: 2})
	s.must(err)
	old := s.authority(c, "server", 1)

	s.requestRekey(c, "server", 2)
	s.eventually("a second generation", rekeyLimit, func(ctx context.Context) string {
		stored, switched := s.generationStored(ctx, c, "server", 2)
		if !stored {
			return "there is none"
		}
		s.figures.Fact("switchedWhenTheReplicaWasDeleted", switched)
		return ""
	})
	s.replicaDeleted(c)
	s.scaled(c, 3)
	s.must(connecting.Stop())
	if failures := connecting.Failures(); len(failures) > 0 {
		s.Errorf("%d connections failed although the primary and the poolers were there:\n%s", len(failures), harness.Telling(failures, 10))
	}
	s.survivesTheDeathOfThePrimary(c, connecting)
	s.stillSoaking(c, "server")

	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, approveAnnotation, "server-g1")
		cluster.Spec.TLS.Rotation.RetirePolicy = "Automatic"
	}))
	s.awaitGeneration(c, "server", 2)
	s.must(c.client.Follow(s.Context(), s.bundleOf(c), readyLimit))
	s.refusedEverywhere(c, "server", old)
	s.acceptedEverywhere(c, "server", s.authority(c, "server", 2))
}

// stillSoaking: whatever happened, happened within the re-key, and the old authority was not dropped without approval.
func (s *story) stillSoaking(c *living, domain string) {
	s.Helper()
	s.eventually("the re-key to wait for approval", rekeyLimit, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err.Error()
		}
		tls := cluster.Status.TLS
		if len(tls.Rekeys) != 1 || tls.Rekeys[0].Domain != domain || tls.Rekeys[0].Phase != "Soaking" {
			return fmt.Sprintf("%+v, waiting for %+v", tls.Rekeys, tls.Blockers)
		}
		return ""
	})
	s.authority(c, domain, 1)
}

// aPodGetsNothingDuringARekey: the kubelet stands still, so the first pod that is asked cannot confirm. The rotation says so and
// asks no other pod; when the kubelet goes on, so does the rotation.
func (s *story) aPodGetsNothingDuringARekey(c *living) {
	s.Helper()
	pods, asked := s.identities(c), s.asked(c)
	old := s.authority(c, "client", 1)
	apps := s.applications(c)
	kubelet, err := harness.FreezeKubelet(freezeLimit)
	if errors.Is(err, os.ErrNotExist) {
		s.fact("kubeletFrozen", false)
		apps.end()
		return
	}
	s.must(err)
	defer func() { _ = kubelet.Thaw() }() // whatever was found
	frozen := time.Now()
	s.requestRekey(c, "client", 2)
	blocker := s.waitsForAPod(c)
	s.fact("blockerOfTheFrozenPod", blocker.Reason+": "+blocker.Message)
	s.asksNoOtherPod(c, blocker.Party, asked)
	if err := kubelet.Thaw(); err != nil {
		s.Errorf("%v: it was watched for too long", err)
	}
	s.fact("secondsFrozen", time.Since(frozen).Round(100*time.Millisecond).Seconds())

	thawed := time.Now()
	s.awaitGeneration(c, "client", 2)
	s.fact("secondsFromThawToEnd", time.Since(thawed).Round(100*time.Millisecond).Seconds())
	apps.end()
	s.same("pods and restarts", pods, s.identities(c))
	s.refusedEverywhere(c, "client", old)
	s.acceptedEverywhere(c, "client", s.authority(c, "client", 2))
}

// asked is what each pod was asked to use.
func (s *story) asked(c *living) map[string]string {
	s.Helper()
	asked := map[string]string{}
	for _, pod := range s.podsOf(c) {
		asked[pod.Name] = pod.Annotations[activateAnnotation]
	}
	return asked
}

// waitsForAPod waits until the status names a pod for which a re-key waits.
func (s *story) waitsForAPod(c *living) (blocker v1beta1.BlockerStatus) {
	s.Helper()
	pods := s.asked(c)
	s.eventually("the status to say for whom the re-key waits", freezeLimit/2, func(ctx context.Context) string {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err.Error()
		}
		tls := cluster.Status.TLS
		if len(tls.Rekeys) != 1 || tls.Rekeys[0].Phase != "Preparing" || tls.State != "Waiting" {
			return fmt.Sprintf("%s, %+v", tls.State, tls.Rekeys)
		}
		for _, blocker = range tls.Blockers {
			if _, isPod := pods[blocker.Party]; isPod && slices.Contains([]string{"AgentRefused", "AwaitingActivation"}, blocker.Reason) {
				return ""
			}
		}
		return fmt.Sprintf("it names %+v", tls.Blockers)
	})
	return blocker
}

// asksNoOtherPod watches a rotation that waits: the old authority signs, and one pod alone was asked for something new.
func (s *story) asksNoOtherPod(c *living, pod string, before map[string]string) {
	s.Helper()
	for range roundsAtRest {
		s.must(c.AwaitHandled(s.Context(), readyLimit))
		if _, switched := s.generationStored(s.Context(), c, "client", 2); switched {
			s.Fatalf("the new authority signs although %s has not confirmed", pod)
		}
		for name, revision := range s.asked(c) {
			if (name == pod) == (revision == before[name]) {
				s.Fatalf("pod %s was asked for %s, and for %s before; the rotation waits for %s", name, revision, before[name], pod)
			}
		}
	}
}

// theAPIServerFailsDuringARekey: a share of all calls fails, in every way in which a call can fail.
func (s *story) theAPIServerFailsDuringARekey(c *living) {
	s.Helper()
	apps := s.applications(c)
	r := &rekeying{story: s, cluster: c, operator: s.operatorHere(c), generation: 2}
	faults := &faults{random: rand.New(rand.NewPCG(faultSeed, 0)), done: map[harness.Fault]int{}}
	for _, r.domain = range []string{"client", "server"} {
		old := s.authority(c, r.domain, 2)
		r.generation = 2
		r.operator.Spoil(faults.next)
		begun := time.Now()
		r.rekey()
		taken := time.Since(begun)
		r.operator.Spoil(nil)
		s.fact("secondsWithFaults-"+r.domain, taken.Round(100*time.Millisecond).Seconds())
		if taken > faultyLimit {
			s.Errorf("the re-key of the %s domain took %s, wanted at most %s", r.domain, taken, faultyLimit)
		}
		s.refusedEverywhere(c, r.domain, old)
		s.acceptedEverywhere(c, r.domain, s.authority(c, r.domain, 3))
	}
	apps.end()
	s.fact("faultSeed", faultSeed)
	s.fact("faults", faults.counted())
	for _, fault := range slices.Concat(writeFaults, readFaults) {
		if faults.done[fault] == 0 {
			s.Errorf("no call was spoilt by %q: the story shows nothing of it", fault)
		}
	}
}

// The faults in turn: each has its share.
var (
	writeFaults = []harness.Fault{harness.Unanswered, harness.Conflicted, harness.Misread, harness.Refused, harness.Lost}
	readFaults  = []harness.Fault{harness.Refused, harness.Lost, harness.Unanswered}
)

// faults spoils a seeded share of the calls.
type faults struct {
	mu            sync.Mutex
	random        *rand.Rand
	calls         int
	writes, reads int // that were spoilt
	done          map[harness.Fault]int
}

func (f *faults) next(call harness.Call) (fault harness.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	switch {
	case call.Writes() && f.random.IntN(spoiltOneInWrite) == 0:
		fault = writeFaults[f.writes%len(writeFaults)]
		f.writes++
	case call.Reads() && f.random.IntN(spoiltOneInReads) == 0:
		fault = readFaults[f.reads%len(readFaults)]
		f.reads++
	default:
		return harness.NoFault
	}
	f.done[fault]++
	return fault
}

func (f *faults) counted() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	counted := map[string]int{"calls": f.calls, "spoiltWrites": f.writes, "spoiltReads": f.reads}
	for fault, n := range f.done {
		counted[string(fault)] = n
	}
	return counted
}
