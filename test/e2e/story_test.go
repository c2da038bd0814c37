//go:build e2e

// Package e2e tells the end-to-end stories: what a user of pgtls lives
// through, on a real Kubernetes with real PostgreSQL and PgBouncer.
//
// make e2e tells all of them, make e2e STORY=<name> one, make soak all of them at
// full length (PGTLS_SOAK=1 make e2e STORY=<name> one). Each writes its
// figures to _artifacts/e2e/<name>.json.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgtls.dev/pgtls/test/harness"
)

// stories in the order in which they run. Those side by side come last, at the same
// time: most of their time is waiting, and each has a cluster of its own. A story
// that shares the machine does so under "make test", and is alone under "make soak".
// What takes the operator or a kubelet away from every cluster is always alone.
var stories = []struct {
	name       string
	run        func(*story)
	sideBySide bool
	shares     bool
}{
	{name: "leaving", run: leaving},               // takes the CRD away: no other story has a cluster yet
	{name: "born-with-tls", run: initialIssuance}, // the name of its figures stays
	{name: "bad-input", run: badInput, shares: true},
	{name: "postgres-15", run: postgres15, shares: true},
	{name: "renew-on-request", run: renewOnRequest},
	{name: "hand-damage", run: handDamage},
	{name: "members-come-and-go", run: membersComeAndGo},
	{name: "operator-away", run: operatorAway},
	{name: "rekey-server", run: rekeyServer},
	{name: "rekey-client", run: rekeyClient},
	{name: "rollback", run: rollback, shares: true},
	{name: "taint", run: taint, shares: true},
	{name: "authority-deleted", run: authorityDeleted},
	{name: "authority-expired", run: authorityExpired},
	{name: "rekey-crash", run: rekeyCrash},
	{name: "two-operators", run: twoOperators},
	{name: "restored", run: restored},
	{name: "blocked-steps", run: blockedSteps},
	{name: "rekey-faults", run: rekeyFaults},
	{name: "windows-and-pause", run: windowsAndPause, shares: true},
	{name: "custom-server", run: customServer, shares: true},
	{name: "custom-replication", run: customReplication, shares: true},
	{name: "custom-pooler", run: customPooler, shares: true},
	{name: "builtin-to-custom-and-back", run: builtinToCustomAndBack, shares: true},
	{name: "custom-bad", run: customBad, shares: true},
	{name: "client-certificates", run: clientCertificates, shares: true},
	{name: "renew-under-load", run: renewUnderLoad, sideBySide: true},
	{name: "issuer-renewal", run: issuerRenewal, sideBySide: true},
	{name: "idle", run: idle, sideBySide: true},
}

// What all stories of a run share.
var (
	kube     *harness.Kube
	images   harness.Images
	removals sync.WaitGroup // of namespaces, in the background
)

func TestMain(m *testing.M) {
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code := m.Run()
	removeStanding(context.Background())
	removals.Wait()
	if err := removeOperator(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func prepare(ctx context.Context) error {
	var err error
	if images, err = harness.ImagesFromEnvironment(); err != nil {
		return err
	}
	if kube, err = harness.Connect(); err != nil {
		return err
	}
	return kube.InstallOperator(ctx, images)
}

func removeOperator(ctx context.Context) error {
	if os.Getenv("KEEP") != "" {
		return nil
	}
	return kube.UninstallOperator(ctx)
}

func TestStory(t *testing.T) {
	for _, entry := range stories {
		t.Run(entry.name, func(t *testing.T) {
			if entry.sideBySide || entry.shares && !harness.Soak() {
				t.Parallel()
			}
			s := &story{T: t, name: entry.name, begun: time.Now()}
			s.figures.Story = entry.name
			s.figures.Fact("set", sized.set)
			t.Cleanup(s.writeFigures)
			if !entry.sideBySide && !entry.shares {
				t.Cleanup(s.bringOperatorBack)
			}
			entry.run(s)
		})
	}
}

// A story is a test with figures.
type story struct {
	*testing.T
	name  string
	begun time.Time

	mu      sync.Mutex
	figures harness.Figures
}

// bringOperatorBack after a story that took the operator away and failed before its end: the next stories have one all the same.
func (s *story) bringOperatorBack() {
	if !s.Failed() {
		return
	}
	ctx := context.Background()
	if err := errors.Join(kube.InstallOperator(ctx, images), kube.ScaleOperator(ctx, 1)); err != nil {
		s.Errorf("bringing the operator back: %v", err)
	}
}

func (s *story) writeFigures() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.figures.Seconds = time.Since(s.begun).Round(100 * time.Millisecond).Seconds()
	directory := filepath.Join(os.Getenv(harness.RootVariable), "_artifacts", "e2e")
	if err := s.figures.Write(directory); err != nil {
		s.Error(err)
	}
}

// fact notes a figure of this story alone, and says it.
func (s *story) fact(name string, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.figures.Fact(name, value)
	s.Logf("%s: %v", name, value)
}

// must ends the story. What the cluster looks like then is said by its own clean-up.
func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// eventually waits until missing returns "", or ends the story with what it returned last.
func (s *story) eventually(what string, limit time.Duration, missing func(context.Context) string) {
	s.Helper()
	s.must(harness.Await(s.Context(), what, limit, missing))
}
