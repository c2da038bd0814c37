package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pgtls.dev/pgtls/hack/devcluster/process"
)

// daemon is one long-running process of the cluster.
type daemon struct {
	name  string   // of its pid file and log
	netns string   // network namespace that it runs in
	argv  []string // argv[0] is an absolute path
}

// running is a daemon that this run started.
type running struct {
	name   string
	log    string
	exited chan struct{} // closed when it has ended
}

// start runs d detached from this process, with its output in its log. Both write
// the pid file: the child before it becomes the daemon (see becomeDaemon), so that
// a kill of this process cannot lose track of it, and this process, so that the
// file is there when start returns.
func (l layout) start(d daemon) (*running, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own path: %w", err)
	}
	log, err := createLog(l.log(d.name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := append([]string{"become-daemon", l.pidFile(d.name), "--"}, inNetns(d.netns, d.argv...)...)
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = l.state
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := os.MkdirAll(filepath.Dir(l.pidFile(d.name)), 0o755); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", d.name, err)
	}
	if id, err := process.Of(cmd.Process.Pid); err == nil { // else it has ended, which await will say
		if err := writePidFile(l.pidFile(d.name), id); err != nil {
			return nil, err
		}
	}
	r := &running{name: d.name, log: l.log(d.name), exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(r.exited)
	}()
	return r, nil
}

func createLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// becomeDaemon writes the pid file and then turns this process into argv.
// Pid and start time survive the exec.
func becomeDaemon(pidFile string, argv []string) error {
	self, err := process.Of(os.Getpid())
	if err != nil {
		return err
	}
	if err := writePidFile(pidFile, self); err != nil {
		return err
	}
	return process.Exec(argv, os.Environ())
}

// writePidFile replaces the file in one step, so that no reader ever sees half an identity.
func writePidFile(path string, id process.ID) error {
	partial := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(partial, []byte(id.String()), 0o644); err != nil {
		return fmt.Errorf("writing pid file: %w", err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("writing pid file: %w", err)
	}
	return nil
}

// died gives an error when the daemon has ended, with the last line of its log.
func (r *running) died() error {
	select {
	case <-r.exited:
		return fmt.Errorf("%s ended: %s (all of it in %s)", r.name, lastLine(r.log), r.log)
	default:
		return nil
	}
}

func lastLine(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return lines[len(lines)-1]
}

// processes reads every pid file. A file that no process can have finished
// writing (a crash of the machine) names no process.
func (l layout) processes() (map[string]process.ID, error) {
	found := map[string]process.ID{}
	entries, err := os.ReadDir(l.path("pids"))
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		content, err := os.ReadFile(l.pidFile(entry.Name()))
		if err != nil {
			return nil, err
		}
		if id, err := process.ParseID(string(content)); err == nil {
			found[entry.Name()] = id
		}
	}
	return found, nil
}

// await polls check for as long as the daemon lives.
func (r *running) await(ctx context.Context, timeout time.Duration, check func(context.Context) error) error {
	err := process.Poll(ctx, timeout, func(ctx context.Context) error {
		if err := r.died(); err != nil {
			return process.Final{Err: err}
		}
		return check(ctx)
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", r.name, err)
	}
	return nil
}
