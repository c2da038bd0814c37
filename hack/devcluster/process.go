package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// identity names one process for good: a pid alone is handed out again.
type identity struct {
	pid        int
	startTicks uint64 // clock ticks after boot, field 22 of /proc/PID/stat
}

func (i identity) String() string { return fmt.Sprintf("%d %d", i.pid, i.startTicks) }

// parseIdentity reads what String writes.
func parseIdentity(text string) (identity, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return identity{}, fmt.Errorf("want \"pid startticks\", have %q", text)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || pid <= 1 {
		return identity{}, fmt.Errorf("%q is no pid that this program could have started", fields[0])
	}
	ticks, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return identity{}, fmt.Errorf("%q is no start time", fields[1])
	}
	return identity{pid: pid, startTicks: ticks}, nil
}

// procStat is what /proc/PID/stat says that matters here.
type procStat struct {
	state      byte // of the first thread: R, S, D, Z, ...
	threads    int
	startTicks uint64
}

// parseProcStat reads the content of /proc/PID/stat. The command name, the
// second field, may itself hold blanks and parentheses.
func parseProcStat(content string) (procStat, error) {
	end := strings.LastIndexByte(content, ')')
	if end < 0 {
		return procStat{}, fmt.Errorf("no command name in %q", content)
	}
	fields := strings.Fields(content[end+1:]) // from field 3 on
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("%d fields after the command name, want 20", len(fields))
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("start time %q: %w", fields[19], err)
	}
	threads, err := strconv.Atoi(fields[17])
	if err != nil {
		return procStat{}, fmt.Errorf("number of threads %q: %w", fields[17], err)
	}
	return procStat{state: fields[0][0], threads: threads, startTicks: ticks}, nil
}

// ended says whether the process only waits to be reaped. While other threads of
// a killed process still end, its files and sockets are still open.
func (s procStat) ended() bool {
	return s.state == 'X' || s.state == 'Z' && s.threads <= 1
}

func readProcStat(pid int) (procStat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseProcStat(string(content))
}

// identify gives the identity of a process that lives now.
func identify(pid int) (identity, error) {
	stat, err := readProcStat(pid)
	if err != nil {
		return identity{}, fmt.Errorf("identifying process %d: %w", pid, err)
	}
	return identity{pid: pid, startTicks: stat.startTicks}, nil
}

// alive says whether that very process still runs.
func (i identity) alive() bool {
	stat, err := readProcStat(i.pid)
	return err == nil && stat.startTicks == i.startTicks && !stat.ended()
}

// kill ends that very process, never another that got its pid.
func (i identity) kill() error {
	if !i.alive() {
		return nil
	}
	if err := syscall.Kill(i.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d: %w", i.pid, err)
	}
	return nil
}

// waitGone waits until none of the processes is alive.
func waitGone(ctx context.Context, processes []identity) error {
	return poll(ctx, 10*time.Second, func(context.Context) error {
		for _, p := range processes {
			if p.alive() {
				return fmt.Errorf("process %d does not end", p.pid)
			}
		}
		return nil
	})
}

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
	if id, err := identify(cmd.Process.Pid); err == nil { // else it has ended, which await will say
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
	self, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	if err := writePidFile(pidFile, self); err != nil {
		return err
	}
	return execve(argv, os.Environ())
}

// writePidFile replaces the file in one step, so that no reader ever sees half an identity.
func writePidFile(path string, id identity) error {
	partial := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(partial, []byte(id.String()), 0o644); err != nil {
		return fmt.Errorf("writing pid file: %w", err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("writing pid file: %w", err)
	}
	return nil
}

// execve replaces this process by argv, found on PATH.
func execve(argv, env []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("executing %s: %w", path, err)
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

// processes reads every pid file. A file that nobody could have finished
// writing (a crash of the machine) names no process.
func (l layout) processes() (map[string]identity, error) {
	found := map[string]identity{}
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
		if id, err := parseIdentity(string(content)); err == nil {
			found[entry.Name()] = id
		}
	}
	return found, nil
}

// poll calls check until it succeeds, and gives its last error after the timeout.
func poll(ctx context.Context, timeout time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		var final finalError
		if errors.As(err, &final) {
			return final.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", timeout, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// finalError tells poll that waiting longer cannot help.
type finalError struct{ error }

// await polls check for as long as the daemon lives.
func (r *running) await(ctx context.Context, timeout time.Duration, check func(context.Context) error) error {
	err := poll(ctx, timeout, func(ctx context.Context) error {
		if err := r.died(); err != nil {
			return finalError{err}
		}
		return check(ctx)
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", r.name, err)
	}
	return nil
}

// run runs a command to its end; its error holds what the command said.
func run(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return text, nil
}
