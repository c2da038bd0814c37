// Package process names processes, ends them and waits for them: what every part of the cluster does with its daemons.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ID names one process for good: a pid alone is handed out again.
type ID struct {
	PID        int
	startTicks uint64 // clock ticks after boot, field 22 of /proc/PID/stat
}

func (i ID) String() string { return fmt.Sprintf("%d %d", i.PID, i.startTicks) }

// ParseID reads what String writes.
func ParseID(text string) (ID, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return ID{}, fmt.Errorf("want \"pid startticks\", have %q", text)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || pid <= 1 {
		return ID{}, fmt.Errorf("%q is no pid that this program could have started", fields[0])
	}
	ticks, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return ID{}, fmt.Errorf("%q is no start time", fields[1])
	}
	return ID{PID: pid, startTicks: ticks}, nil
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

// Of gives the ID of a process that lives now.
func Of(pid int) (ID, error) {
	stat, err := readProcStat(pid)
	if err != nil {
		return ID{}, fmt.Errorf("identifying process %d: %w", pid, err)
	}
	return ID{PID: pid, startTicks: stat.startTicks}, nil
}

// Alive says whether that very process still runs.
func (i ID) Alive() bool {
	stat, err := readProcStat(i.PID)
	return err == nil && stat.startTicks == i.startTicks && !stat.ended()
}

// Kill ends that very process, never another that got its pid.
func (i ID) Kill() error {
	if !i.Alive() {
		return nil
	}
	if err := syscall.Kill(i.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d: %w", i.PID, err)
	}
	return nil
}

// WaitGone waits until none of the processes is alive.
func WaitGone(ctx context.Context, processes []ID) error {
	return Poll(ctx, 10*time.Second, func(context.Context) error {
		for _, p := range processes {
			if p.Alive() {
				return fmt.Errorf("process %d does not end", p.PID)
			}
		}
		return nil
	})
}

// Exec replaces this process by argv, found on PATH.
func Exec(argv, env []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("executing %s: %w", path, err)
	}
	return nil
}

// Poll calls check until it succeeds, and gives its last error after the timeout.
func Poll(ctx context.Context, timeout time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		var final Final
		if errors.As(err, &final) {
			return final.Err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", timeout, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Final tells Poll that waiting longer cannot help.
type Final struct{ Err error }

// Error of what cannot be helped.
func (f Final) Error() string { return f.Err.Error() }

// Run runs a command to its end; its error holds what the command said.
func Run(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return text, nil
}
