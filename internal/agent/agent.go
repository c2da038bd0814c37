package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"pgtls.dev/pgtls/internal/agent/logtail"
	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/pki"
)

// Config is where an agent works. Every field is required unless it says otherwise.
type Config struct {
	Pod  string
	Kind *party.Kind // one with a process

	MaterialDir  string // mounted by the kubelet
	ActivateFile string // in a volume of its own
	ActiveDir    string
	SocketDir    string
	LogFile      string    // that the process writes; "": refused handshakes are not counted
	LogCopy      io.Writer // gets what is written to LogFile, unchanged; nil where the process tells it elsewhere as well

	Listen          string // address of the agent's own HTTPS
	PatroniListen   string // address of the HTTPS in front of Patroni; "" in pooler pods
	PatroniUpstream string // address of Patroni's own HTTPS; "" in pooler pods
	MinTLS          uint16 // of both; 0 means 1.3

	Process Process
	Now     func() time.Time
	Log     *slog.Logger
}

// Agent is one sidecar.
type Agent struct {
	config   Config
	observer observer
	store    store
	reports  *reports
	tail     *logtail.Tail
	server   *server

	installed *atomic.Pointer[Material] // what "current" leads to; the server presents it

	// Of the turning goroutine alone.
	loaded      *Material // last that was seen to be served
	activatedAt time.Time // of loaded
	unasked     bool      // how installed was chosen
	served      []agentapi.Served
	failures    int  // in a row; 0 when there is nothing to try again
	settled     bool // installed is loaded
}

// New takes what an earlier process of the same pod has left, and makes the loopback pair when there is none.
func New(config Config) (*Agent, error) {
	if config.MinTLS == 0 {
		config.MinTLS = tls.VersionTLS13
	}
	loopback, err := ensureLoopbackPair(config.ActiveDir, config.Now())
	if err != nil {
		return nil, err
	}
	a := &Agent{
		config:   config,
		observer: observer{materialDir: config.MaterialDir, activateFile: config.ActivateFile},
		store:    store{dir: config.ActiveDir},

		installed: &atomic.Pointer[Material]{},
	}
	a.tail = logtail.New(logtail.Config{
		Program: config.Kind.Process.Program, File: config.LogFile, Copy: config.LogCopy, Changed: func() { a.reports.refresh() }, Now: config.Now, Log: config.Log,
	})
	a.reports = newReports(config.Pod, config.Kind.Name, a.tail.Told)
	a.installed.Store(a.store.current())
	a.server = &server{config: config, loopback: loopback, installed: a.installed, reports: a.reports}
	return a, nil
}

// Run works until ctx ends. It returns an error when a port that it opened dies before: the kubelet starts the agent anew.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, err := watch(ctx, a.config.Log, a.config.MaterialDir, filepath.Dir(a.config.ActivateFile), a.config.SocketDir)
	if err != nil {
		return err
	}
	a.followLog(ctx)
	ports, err := a.server.listen(ctx)
	if err != nil {
		return err
	}
	return a.work(ctx, signals, ports)
}

// followPause is the pause between two looks at a log that grows.
const followPause = 20 * time.Millisecond

// followLog has the log followed until ctx ends. It has a goroutine of its own: neither a storm in the log nor a reader of the copy that does
// not read holds up the turns. Counting is not worth an outage, so the agent goes on without it.
func (a *Agent) followLog(ctx context.Context) {
	if a.config.LogFile == "" {
		return
	}
	signals, err := watchPaced(ctx, a.config.Log, followPause, filepath.Dir(a.config.LogFile))
	if err != nil {
		a.config.Log.Error("counting refused handshakes", "error", err)
		return
	}
	go a.tail.Run(ctx, signals)
}

// work turns and answers on ports until ctx ends or a port dies.
func (a *Agent) work(ctx context.Context, signals <-chan struct{}, ports []port) error {
	working, end := context.WithCancelCause(ctx)
	defer end(nil)
	stopped := a.server.serve(working, ports, end)
	a.turnUntilDone(working, signals)
	end(nil)
	if err := <-stopped; err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(working)
}

func (a *Agent) turnUntilDone(ctx context.Context, signals <-chan struct{}) {
	for ctx.Err() == nil {
		timer := newTimer(a.turn(ctx), a.config.Now())
		select {
		case <-ctx.Done():
		case <-signals:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// never is how long a timer runs that nothing needs.
const never = 24 * time.Hour

// newTimer fires at an instant, or practically never when it is zero.
func newTimer(at, now time.Time) *time.Timer {
	if at.IsZero() {
		return time.NewTimer(never)
	}
	return time.NewTimer(min(max(at.Sub(now), 0), never))
}

// turn is one round. It returns when the next is due although nothing happens; zero means never.
func (a *Agent) turn(ctx context.Context) (wakeAt time.Time) {
	facts, mounted := a.observe()
	decision := Decide(facts)
	var failure *agentapi.Problem
	if decision.Act != Rest {
		failure = a.perform(ctx, decision, mounted)
		facts, mounted = a.observe() // what was done may have made something else possible
		decision = Decide(facts)
	}
	wakeAt = earlier(decision.WakeAt, a.retryAt())
	switch {
	case failure != nil:
		decision.Problem = failure
	case decision.Act != Rest:
		wakeAt = facts.Now
	case mounted.unreadable():
		wakeAt = earlier(wakeAt, facts.Now.Add(longestRetry))
	}
	a.publish(facts, decision.Problem)
	return wakeAt
}

func (a *Agent) observe() (Facts, delivered) {
	now := a.config.Now()
	mounted := a.observer.mounted()
	facts := Facts{Now: now, Asked: a.observer.asked(), Mounted: mounted.candidate(now), Confirmed: a.settled}
	active := ""
	if installed := a.installed.Load(); installed != nil {
		facts.Active = installed.candidate(now)
		active = installed.Revision
	}
	for _, held := range a.store.held(active) {
		facts.Held = append(facts.Held, *held.candidate(now))
	}
	return facts, mounted
}

// perform does what was decided. The outcome is nil, or the problem to report and to try again.
func (a *Agent) perform(ctx context.Context, decision Decision, mounted delivered) *agentapi.Problem {
	if decision.Act != Confirm {
		if err := a.activate(decision, mounted.material); err != nil {
			a.failures++
			a.config.Log.Error("activating", "revision", decision.Revision, "error", err)
			return &agentapi.Problem{Reason: agentapi.InstallFailed, Message: err.Error() + ": the agent tries again"}
		}
	}
	return a.confirm(ctx)
}

// activate makes the decided revision the installed one.
func (a *Agent) activate(decision Decision, mounted *Material) error {
	m := mounted
	if decision.Act == ActivateHeld {
		m = a.store.read(decision.Revision)
	}
	if m == nil || m.Revision != decision.Revision {
		return fmt.Errorf("revision %s is no longer there", decision.Revision)
	}
	if err := a.store.write(m); err != nil {
		return err
	}
	if err := a.store.link(m.Revision); err != nil {
		return err
	}
	previous := a.installed.Swap(m)
	a.settled, a.unasked, a.failures = false, decision.Unasked, 0
	keep := []string{m.Revision}
	if previous != nil {
		keep = append(keep, previous.Revision)
	}
	a.config.Log.Info("installed", "revision", m.Revision, "unasked", decision.Unasked, "act", decision.Act)
	return a.store.prune(keep...)
}

// confirm makes the process load what is installed.
func (a *Agent) confirm(ctx context.Context) *agentapi.Problem {
	m := a.installed.Load()
	outcome := confirm(ctx, a.config.Process, m)
	a.served = []agentapi.Served{outcome.served}
	if outcome.problem != nil {
		a.failures++
		return outcome.problem
	}
	a.settled, a.failures = true, 0
	if a.loaded == nil || a.loaded.Revision != m.Revision {
		a.activatedAt = a.config.Now().UTC()
		a.tail.Begin(m.Revision, pki.IssuerID(m.Served.Leaf()), a.activatedAt)
	}
	if changesIssuer(a.loaded, m) {
		go a.recycle(ctx)
	}
	a.loaded = m
	a.config.Log.Info("active", "revision", m.Revision, "serial", outcome.served.Serial)
	return nil
}

// Back-off between attempts.
const (
	firstRetry   = 50 * time.Millisecond
	longestRetry = 5 * time.Second
)

// retryAt is when to try again after failures in a row; zero when there are none.
func (a *Agent) retryAt() time.Time {
	if a.failures == 0 {
		return time.Time{}
	}
	pause := longestRetry
	if shift := a.failures - 1; shift < 7 {
		pause = min(firstRetry<<shift, longestRetry)
	}
	return a.config.Now().Add(pause)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// publish tells what the round has found.
func (a *Agent) publish(facts Facts, problem *agentapi.Problem) {
	report := agentapi.Report{Asked: facts.Asked, Served: slices.Clone(a.served), Problem: problem}
	if facts.Mounted != nil {
		report.Mounted = facts.Mounted.Revision
	}
	if len(facts.Held) > 0 {
		report.Previous = facts.Held[0].Revision
	}
	if m := a.loaded; m != nil {
		report.Active = m.Revision
		report.Unasked = a.unasked && a.settled && facts.Asked != m.Revision
		activatedAt := a.activatedAt
		report.ActivatedAt = &activatedAt
		report.ServerLeaf, report.ClientLeaf = leafOf(m.Server.Leaf()), leafOf(m.Client.Leaf())
		report.ServedLeaf, report.PresentedLeaf = leafOf(m.Served.Leaf()), leafOf(m.Presented.Leaf())
		report.ServerAnchors, report.ClientAnchors = fingerprints(m.ServerAnchors), fingerprints(m.ClientAnchors)
		report.RevocationLists = listNumbers(m)
	}
	if a.reports.publish(report) && problem != nil {
		a.config.Log.Warn("waiting", "reason", problem.Reason, "message", problem.Message, "asked", report.Asked, "mounted", report.Mounted)
	}
}

// errNothingInstalled is for a caller that asks before the first material came.
var errNothingInstalled = errors.New("no material is installed yet")
