package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pgtls.dev/pgtls/test/platform"
)

// devclusterKubelet is where devcluster notes its kubelet: pid, and clock ticks from boot to start.
const devclusterKubelet = "/var/lib/pgtls-devcluster/pids/kubelet-node-1"

// FrozenKubelet is a kubelet that stands still: pods go on, and nothing is delivered to them.
type FrozenKubelet struct {
	pid     int
	timer   *time.Timer
	signals chan os.Signal
	done    chan struct{}

	once sync.Once
	mu   sync.Mutex
	err  error
}

// FreezeKubelet stops the throwaway cluster's kubelet for at most that long: a node that says nothing for 40 s is given up by
// Kubernetes. It fails with os.ErrNotExist on another cluster.
func FreezeKubelet(limit time.Duration) (*FrozenKubelet, error) {
	if os.Getenv(platform.ContextVariable) != "" {
		return nil, fmt.Errorf("finding the kubelet of context %s: %w", os.Getenv(platform.ContextVariable), os.ErrNotExist)
	}
	pid, err := kubeletPID()
	if err != nil {
		return nil, fmt.Errorf("finding the kubelet: %w", err)
	}
	f := &FrozenKubelet{pid: pid, signals: make(chan os.Signal, 1), done: make(chan struct{})}
	// Also when the stories are interrupted: a dead kubelet leaves a cluster that does not say why it is dead.
	signal.Notify(f.signals, os.Interrupt, syscall.SIGTERM)
	go f.thawOnSignal()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		f.thaw()
		return nil, fmt.Errorf("freezing the kubelet: %w", err)
	}
	f.timer = time.AfterFunc(limit, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = fmt.Errorf("the kubelet was thawed after %s, for its node's sake", limit)
		f.thaw()
	})
	return f, nil
}

// Thaw lets the kubelet go on. The error says that it went on before, by itself.
func (f *FrozenKubelet) Thaw() error {
	f.timer.Stop()
	f.thaw()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *FrozenKubelet) thaw() {
	f.once.Do(func() {
		_ = syscall.Kill(f.pid, syscall.SIGCONT) // one that is gone is started again by devcluster up
		signal.Stop(f.signals)
		close(f.done)
	})
}

func (f *FrozenKubelet) thawOnSignal() {
	select {
	case <-f.done:
	case s := <-f.signals:
		f.thaw()
		_ = syscall.Kill(os.Getpid(), s.(syscall.Signal)) // and now what it does to a program that does not listen
	}
}

// kubeletPID returns the pid only of the very process that devcluster has started: pids are handed out again.
func kubeletPID() (int, error) {
	content, err := os.ReadFile(devclusterKubelet)
	if err != nil {
		return 0, err
	}
	pidText, started, _ := strings.Cut(strings.TrimSpace(string(content)), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return 0, fmt.Errorf("%s holds no pid: %q", devclusterKubelet, content)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || string(fields[19]) != started {
		return 0, fmt.Errorf("process %d is another: %w", pid, os.ErrNotExist)
	}
	return pid, nil
}
