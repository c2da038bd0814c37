//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

// The operator is killed after each single write of a re-key: one re-key per write, and always the same end. Writes are those of a
// re-key without a fault, all but Events and Leases; each is done by the API server, and unknown to the operator when it dies.
// "make test": after one write of three; "make soak": after each.
func rekeyCrash(s *story) {
	c := s.rolledOut(s.cluster().WithInstances(1).WithPoolers(1).With(withoutSoak))
	authorities := s.authoritiesOf(c)
	apps := s.applications(c)
	r := &rekeying{story: s, cluster: c, operator: s.operatorHere(c), domain: "server", generation: 1}

	r.undisturbed() // the chains of g2 lack the second bridge
	writes, wanted := r.undisturbed()
	s.fact("writesPerRekey", len(writes))
	s.fact("writes", writes)
	var killed []time.Duration
	var missed []string
	old := s.authority(c, r.domain, r.generation)
	for i, write := range writes {
		if i%sized.oneKillOf != 0 {
			continue
		}
		old = s.authority(c, r.domain, r.generation)
		begun := time.Now()
		if !r.killedAfter(write) {
			missed = append(missed, write)
			continue
		}
		killed = append(killed, time.Since(begun))
		s.eventually("the end of the undisturbed re-key after a kill at "+write, rekeyLimit, func(context.Context) string {
			return cmp.Diff(wanted, r.shape())
		})
	}
	s.fact("kills", len(killed))
	s.fact("killedRekeyMs", harness.SpreadOf(killed))
	s.fact("operatorBackMs", harness.SpreadOf(r.back))
	s.fact("notWrittenAgain", missed)
	if len(killed) < sized.fewestKills {
		s.Errorf("the operator was killed %d times: this shows little", len(killed))
	}
	for _, write := range missed {
		if !isOptional(write) {
			s.Errorf("a re-key has not made the write %q, and so the operator was not killed after it", write)
		}
	}
	apps.end()
	authorities.end()
	s.refusedEverywhere(c, r.domain, old)
	s.acceptedEverywhere(c, r.domain, s.authority(c, r.domain, r.generation))
}

// isOptional reports the writes whose number depends on how long something else takes: the status, what the other controller hands
// on, and the retriggers of a slow kubelet.
func isOptional(write string) bool {
	return strings.Contains(write, "postgresclusters/status") || strings.Contains(write, " pgtls-cluster ") || strings.Contains(write, " retrigger")
}

// rekeying is one re-key of a domain after the other.
type rekeying struct {
	story      *story
	cluster    *living
	operator   *harness.LocalOperator
	domain     string
	generation int // that signs
	back       []time.Duration
}

// undisturbed returns the writes of a re-key, and what the cluster's objects look like at its end.
func (r *rekeying) undisturbed() (writes []string, end map[string]string) {
	s := r.story
	s.Helper()
	account := &account{generation: r.generation, times: map[string]int{}}
	r.operator.OnWrite(func(call harness.Call) { account.note(call) })
	begun := time.Now()
	r.rekey()
	s.fact(fmt.Sprintf("undisturbedMsG%d", r.generation), time.Since(begun).Milliseconds())
	r.operator.OnWrite(nil)
	return account.writes(), r.shape()
}

// killedAfter re-keys and kills the operator after a write, and tells whether it came to that.
func (r *rekeying) killedAfter(write string) (killed bool) {
	s := r.story
	s.Helper()
	defer func() {
		if s.Failed() {
			s.Logf("it failed in the re-key whose operator was killed after %q", write)
		}
	}()
	account := &account{generation: r.generation, times: map[string]int{}}
	death := &death{operator: r.operator}
	r.operator.OnWrite(func(call harness.Call) {
		if account.note(call) == write {
			death.now()
		}
	})
	r.operator.Spoil(death.seen)
	r.rekey()
	r.operator.OnWrite(nil)
	r.operator.Spoil(nil)
	s.must(death.err)
	if death.back > 0 {
		r.back = append(r.back, death.back)
	}
	return !death.at.IsZero()
}

// rekey ends when the next generation is all that is stored, trusted, served and used, and the clients follow.
func (r *rekeying) rekey() {
	s, c := r.story, r.cluster
	s.Helper()
	r.generation++
	s.requestRekey(c, r.domain, r.generation)
	s.awaitGeneration(c, r.domain, r.generation)
	s.must(r.operator.Runs())
	s.must(c.client.Follow(s.Context(), s.bundleOf(c), readyLimit))
}

func (s *story) requestRekey(c *living, domain string, generation int) {
	s.Helper()
	s.must(c.Change(s.Context(), func(cluster *v1beta1.PostgresCluster) {
		metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, rotateAnnotation, fmt.Sprintf("%s:%d", domain, generation))
	}))
}

// An account of the writes of one re-key, without the numbers of the generations: what happens in one happens in the next.
type account struct {
	generation int // that is replaced

	mu    sync.Mutex
	times map[string]int
	order []string
}

// note returns the name of a write: the third of its kind is called so.
func (a *account) note(call harness.Call) string {
	names := strings.NewReplacer(fmt.Sprintf("-ca-g%d", a.generation), "-ca-old", fmt.Sprintf("-ca-g%d", a.generation+1), "-ca-new")
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := names.Replace(call.String())
	a.times[kind]++
	write := fmt.Sprintf("%s #%d", kind, a.times[kind])
	a.order = append(a.order, write)
	return write
}

func (a *account) writes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.order)
}

// A death of the operator, and its return at once.
type death struct {
	operator *harness.LocalOperator

	mu   sync.Mutex
	at   time.Time
	back time.Duration // until the next one asked for something
	err  error
}

func (d *death) now() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() {
		return
	}
	if d.err = d.operator.Kill(); d.err == nil {
		d.at = time.Now()
		d.err = d.operator.Start()
	}
}

// seen spoils nothing: it waits for the first call after the death. Calls of the dead one have come before.
func (d *death) seen(harness.Call) harness.Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() && d.back == 0 {
		d.back = time.Since(d.at)
	}
	return harness.NoFault
}

// shape is what a cluster's Secrets and ConfigMap hold, in numbers of certificates, and what is noted on them.
func (r *rekeying) shape() map[string]string {
	s, c := r.story, r.cluster
	s.Helper()
	secrets, err := c.Secrets(s.Context())
	s.must(err)
	shape := map[string]string{"ConfigMap": fmt.Sprintf("ca.crt %d", strings.Count(s.bundleOf(c), "BEGIN CERTIFICATE"))}
	for i := range secrets {
		name := strings.ReplaceAll(secrets[i].Name, fmt.Sprintf("-%s-ca-g%d", r.domain, r.generation), "-"+r.domain+"-ca-new")
		shape[name] = shapeOf(&secrets[i])
	}
	return shape
}

func shapeOf(secret *corev1.Secret) string {
	var parts []string
	for _, file := range slices.Sorted(maps.Keys(secret.Data)) {
		if strings.HasSuffix(file, ".crt") {
			parts = append(parts, fmt.Sprintf("%s %d", file, strings.Count(string(secret.Data[file]), "BEGIN CERTIFICATE")))
		}
	}
	parts = append(parts, slices.Sorted(maps.Keys(secret.Annotations))...)
	parts = append(parts, secret.Finalizers...)
	if secret.DeletionTimestamp != nil {
		parts = append(parts, "being deleted")
	}
	return strings.Join(parts, ", ")
}

// operatorHere has the operator run as a process of this story until its end.
func (s *story) operatorHere(c *living) *harness.LocalOperator {
	s.Helper()
	removals.Wait() // the operator in the cluster lets go of what earlier stories had
	log := filepath.Join(os.Getenv(harness.RootVariable), "_artifacts", "e2e", s.name+".operator.log")
	operator, err := c.RunOperatorHere(s.Context(), c.client, images, s.TempDir(), log)
	if errors.Is(err, harness.ErrOutOfReach) {
		s.Skip("the operator cannot run beside the story: ", err)
	}
	s.must(err)
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("what the operator beside the story told last (%v):\n%s", operator.Runs(), operator.Told())
		}
		if err := operator.Close(context.Background()); err != nil {
			s.Error(err)
		}
	})
	return operator
}

// applications open new connections and keep sessions, directly and through the pooler.
type applications struct {
	story      *story
	connecting *harness.Connecting
	sessions   *harness.Sessions
}

func (s *story) applications(c *living) *applications {
	s.Helper()
	targets := []harness.Target{c.Service("pgbouncer"), c.Service("primary")}
	sessions, err := c.client.KeepSessions(s.Context(), targets, 3)
	s.must(err)
	connecting, err := c.client.Connect(s.Context(), targets, harness.Rates{Pgx: 8, Psql: 0.2, Pgbench: 1})
	s.must(err)
	return &applications{story: s, connecting: connecting, sessions: sessions}
}

// end adds to the figures. Nothing failed and nothing was lost.
func (a *applications) end() {
	s := a.story
	s.Helper()
	s.must(errors.Join(a.connecting.Stop(), a.sessions.Stop()))
	sum, lost := a.connecting.SoFar(), a.sessions.Lost()
	s.figures.Connections += sum.Tried
	s.figures.Failed += sum.Failed
	s.figures.SessionsOpened += a.sessions.Opened()
	s.figures.SessionsLost += len(lost)
	if failures := a.connecting.Failures(); len(failures) > 0 || sum.Tried == 0 {
		s.Errorf("%d of %d connections failed:\n%s", sum.Failed, sum.Tried, harness.Telling(failures, 20))
	}
	if len(lost) > 0 {
		s.Errorf("%d of %d sessions were lost:\n%s", len(lost), a.sessions.Opened(), harness.Telling(lost, 10))
	}
}

// authoritiesWatch is the watch of a story's authorities.
type authoritiesWatch struct {
	story *story
	*harness.Authorities
}

func (s *story) authoritiesOf(c *living) authoritiesWatch {
	s.Helper()
	authorities, err := c.WatchAuthorities(s.Context())
	s.must(err)
	s.Cleanup(func() {
		if seconds := authorities.Seconds(); s.Failed() && len(seconds) > 0 {
			s.Logf("second keys, when the story failed: %q", seconds)
		}
	})
	return authoritiesWatch{s, authorities}
}

// end: whatever was in the way, there was one key for each generation, made once.
func (a authoritiesWatch) end() {
	s := a.story
	s.Helper()
	s.must(a.Stop())
	s.fact("generations", len(a.Names()))
	for _, second := range a.Seconds() {
		s.Errorf("a second key for a generation: %s", second)
	}
	if n := a.Restored(); n > 0 {
		s.Errorf("the Secret of an authority was made anew %d times although none was deleted", n)
	}
}

// generationStored tells whether a generation is stored, and whether it was switched to.
func (s *story) generationStored(ctx context.Context, c *living, domain string, generation int) (stored, switched bool) {
	var secret corev1.Secret
	err := kube.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: fmt.Sprintf("%s-%s-ca-g%d", c.Name, domain, generation)}, &secret)
	return err == nil, secret.Annotations["pgtls.dev/switched-at"] != ""
}
