package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/internal/probe"
)

// fakeProcess serves what it has loaded, and loads what is current when it is told to. It stands beside the tests
// with a real PostgreSQL, for what those cannot stage.
type fakeProcess struct {
	mu       sync.Mutex
	store    *store
	serving  *Material
	reloads  int
	anew     int           // times that its own connections were to be made anew
	down     bool          // no process listens
	stubborn bool          // answers a reload and goes on as before
	broken   error         // what a reload ends with
	slow     time.Duration // from a reload to its effect
}

func (p *fakeProcess) Port() string { return "postgres" }

func (p *fakeProcess) Reload(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return syscall.ECONNREFUSED
	}
	p.reloads++
	if p.broken != nil || p.stubborn {
		return p.broken
	}
	loaded := p.store.current()
	time.AfterFunc(p.slow, func() { p.change(func() { p.serving = loaded }) })
	return nil
}

func (p *fakeProcess) Ready(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return syscall.ECONNREFUSED
	}
	return nil
}

func (p *fakeProcess) Handshake(context.Context) (probe.Served, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down || p.serving == nil {
		return probe.Served{}, &probe.Error{Reason: probe.Refused, Address: "a", Err: syscall.ECONNREFUSED}
	}
	leaf := p.serving.Server.Leaf()
	return probe.Served{Leaf: pki.Facts(leaf), Chain: []*x509.Certificate{leaf}, AcceptedIssuers: subjects(p.serving)}, nil
}

func (p *fakeProcess) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *fakeProcess) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reloads
}

// bench is an agent on a bench: its clock is the test's, and the test says when files have changed.
type bench struct {
	*kit
	volume, pod *volume
	process     *fakeProcess
	agent       *Agent
	active      string
	signals     chan struct{}
	stop        func()
}

func newBench(t *testing.T) *bench {
	b := &bench{kit: newKit(t, time.Now()), volume: newVolume(t), pod: newVolume(t), active: t.TempDir(), process: &fakeProcess{slow: 10 * time.Millisecond}}
	b.process.store = &store{dir: b.active}
	b.boot()
	t.Cleanup(func() { b.stop() })
	return b
}

// boot starts the agent's process anew, in the same pod.
func (b *bench) boot() {
	b.t.Helper()
	agent, err := New(Config{
		Pod: "hippo-a-0-0", Kind: party.Instance, MaterialDir: b.volume.dir, ActivateFile: b.pod.activateFile(),
		ActiveDir: b.active, Process: b.process, Now: time.Now, Log: discard(),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan struct{})
	b.agent, b.signals = agent, make(chan struct{}, 1)
	go func() {
		defer close(done)
		agent.turnUntilDone(ctx, b.signals)
	}()
	b.stop = sync.OnceFunc(func() { cancel(); <-done })
}

func (b *bench) reboot() {
	b.stop()
	b.boot()
}

// notice lets the agent see that files have changed, and finish what it does about it at once.
func (b *bench) notice() agentapi.Report {
	b.signals <- struct{}{}
	return b.after(100 * time.Millisecond)
}

func (b *bench) after(d time.Duration) agentapi.Report {
	time.Sleep(d)
	synctest.Wait()
	report, _ := b.agent.reports.get()
	return report
}

func (b *bench) deliver(m material) agentapi.Report { b.volume.deliver(m); return b.notice() }
func (b *bench) ask(m material) agentapi.Report     { b.pod.ask(m.revision()); return b.notice() }

func (b *bench) expect(report agentapi.Report, active material, reason agentapi.Reason) {
	b.t.Helper()
	want := ""
	if active != nil {
		want = active.revision()
	}
	if report.Active != want || reasonOf(report.Problem) != reason {
		b.t.Fatalf("active is %q with problem %+v, want %q with %q", report.Active, report.Problem, want, reason)
	}
}

func TestFromDeliveryToUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first, second := b.material(usual()), b.material(usual())
		b.expect(b.after(0), nil, agentapi.AwaitingDelivery)
		report := b.deliver(first)
		b.expect(report, first, "")
		if !report.Unasked || report.Mounted != first.revision() || report.ActivatedAt == nil {
			t.Errorf("report is %+v", report)
		}
		if report = b.ask(first); report.Unasked {
			t.Error("unasked although it is asked now")
		}
		b.expect(b.deliver(second), first, "")
		report = b.ask(second)
		b.expect(report, second, "")
		if report.Previous != first.revision() || report.ServerLeaf.Serial != b.process.serving.Server.Leaf().SerialNumber.Text(16) {
			t.Errorf("report is %+v", report)
		}
		b.expect(b.ask(first), first, "")
		b.expect(b.ask(second), second, "")
	})
}

func TestBadMaterialNeverReachesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good, next := b.material(usual()), b.material(usual())
		b.deliver(good)
		b.ask(good)
		reloads := b.process.count()
		for _, bad := range []material{
			{}, next.with(agentapi.ServerKey, good[agentapi.ServerKey]), next.with(agentapi.ServerCertificate, []byte("garbage")),
			next.without(agentapi.ClientBundle), good.with(agentapi.ClientBundle, nil),
		} {
			b.volume.deliver(bad)
			b.expect(b.ask(bad), good, agentapi.MaterialInvalid)
		}
		if got := b.process.count(); got != reloads {
			t.Errorf("%d reloads for nothing", got-reloads)
		}
		b.volume.deliver(next)
		b.expect(b.ask(next), next, "")
	})
}

func TestGoesAheadBeforeTheLeafExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		short := lives{serverFrom: 0, serverUntil: time.Hour, clientFrom: 0, clientUntil: 2 * time.Hour}
		first, second := b.material(short), b.material(usual())
		b.deliver(first)
		b.ask(first)
		b.expect(b.deliver(second), first, "")
		b.expect(b.after(49*time.Minute), first, "")
		report := b.after(2 * time.Minute) // the last sixth begins after 50 minutes
		b.expect(report, second, "")
		if !report.Unasked || report.Asked != first.revision() {
			t.Errorf("report is %+v", report)
		}
		b.expect(b.after(24*time.Hour), second, "") // and no way back, although the annotation asks for it
		b.expect(b.ask(second), second, "")
	})
}

func TestAtRestNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		m := b.material(usual())
		b.deliver(m)
		before := b.ask(m)
		reloads := b.process.count()
		b.notice()
		if after := b.after(10 * day); after.Sequence != before.Sequence || b.process.count() != reloads {
			t.Errorf("report %d became %d with %d reloads", before.Sequence, after.Sequence, b.process.count()-reloads)
		}
	})
}

func TestWaitsForAProcessThatIsNotUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.process.change(func() { b.process.down = true })
		m := b.material(usual())
		report := b.deliver(m)
		b.expect(report, nil, agentapi.ProcessNotReady)
		if b.agent.installed.Load() == nil {
			t.Error("nothing is installed for the process to start with")
		}
		b.expect(b.after(time.Minute), nil, agentapi.ProcessNotReady)
		b.process.change(func() { b.process.down = false })
		b.expect(b.after(longestRetry), m, "")
	})
}

func TestProblemsOfTheProcess(t *testing.T) {
	tests := map[agentapi.Reason]func(*fakeProcess, bool){
		agentapi.StillServingOld: func(p *fakeProcess, on bool) { p.stubborn = on },
		agentapi.ReloadFailed: func(p *fakeProcess, on bool) {
			if p.broken = nil; on {
				p.broken = errors.New("permission denied")
			}
		},
	}
	for reason, trouble := range tests {
		t.Run(string(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				first, second := b.material(usual()), b.material(usual())
				b.deliver(first)
				b.ask(first)
				b.process.change(func() { trouble(b.process, true) })
				b.deliver(second)
				b.ask(second)
				report := b.after(10 * time.Second)
				b.expect(report, first, reason)
				if report.Previous != first.revision() {
					t.Errorf("report is %+v", report)
				}
				b.process.change(func() { trouble(b.process, false) })
				b.expect(b.after(10*time.Second), second, "")
			})
		})
	}
}

// The retries of a lasting failure become rare: at most one in five seconds.
func TestBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.process.change(func() { b.process.broken = errors.New("no") })
		b.deliver(b.material(usual()))
		b.after(time.Minute)
		before := b.process.count()
		b.after(time.Minute)
		if got := b.process.count() - before; got < 8 || got > 13 {
			t.Errorf("%d attempts in a minute", got)
		}
	})
}

func TestARestartedAgentFindsItsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first, second := b.material(usual()), b.material(usual())
		b.deliver(first)
		b.ask(first)
		b.deliver(second)
		before := b.ask(second)
		b.reboot()
		after := b.after(100 * time.Millisecond)
		b.expect(after, second, "")
		if after.Boot == before.Boot || after.Previous != first.revision() {
			t.Errorf("report is %+v", after)
		}
		b.expect(b.ask(first), first, "")
	})
}

// An agent that was killed at any step of an activation finishes it, or has not begun, after a restart.
func TestKilledAtAnyStep(t *testing.T) {
	for crashAt := range 14 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			first, second := b.material(usual()), b.material(usual())
			b.deliver(first)
			b.ask(first)
			var steps atomic.Int64
			b.agent.store.beforeStep = func(string) error {
				if steps.Add(1) > int64(crashAt) {
					return errCrash
				}
				return nil
			}
			b.volume.deliver(second)
			b.pod.ask(second.revision())
			b.signals <- struct{}{}
			synctest.Wait()
			b.reboot()
			b.expect(b.after(time.Second), second, "")
			if got := revisions(b.agent.store.held(second.revision())); !slices.Equal(got, []string{first.revision()}) {
				t.Errorf("killed at step %d: held are %v", crashAt, got)
			}
		})
	}
}

func TestAFullDiskIsReportedAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first, second := b.material(usual()), b.material(usual())
		b.deliver(first)
		b.ask(first)
		var full atomic.Bool
		full.Store(true)
		b.agent.store.beforeStep = func(string) error {
			if full.Load() {
				return syscall.ENOSPC
			}
			return nil
		}
		b.deliver(second)
		b.expect(b.ask(second), first, agentapi.InstallFailed)
		full.Store(false)
		b.expect(b.after(longestRetry), second, "")
	})
}
