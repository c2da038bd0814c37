// Package beside runs bin/operator as a process beside an API server, and measures it: its memory, its processor time and the
// requests that it makes.
package beside

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What happens at the beginning, such as filling caches, has left the heap after this long, and Go has given pages back.
const (
	restTime    = 20 * time.Second
	sampleCount = 9
	samplePause = time.Second
)

// Operator is the real program as a process.
type Operator struct {
	command   *exec.Cmd
	directory string
	metrics   string
	output    bytes.Buffer
	ended     chan struct{}
}

// Start starts it. The caller stops it.
func Start(kubeconfig []byte, arguments ...string) (*Operator, error) {
	return start("operator", nil, kubeconfig, arguments...)
}

// StartProfiled starts bin/operator-profile, which writes profiles into the folder at WriteProfiles. The caller stops it.
func StartProfiled(folder string, kubeconfig []byte, arguments ...string) (*Operator, error) {
	return start("operator-profile", []string{"PGTLS_PROFILE=" + folder}, kubeconfig, arguments...)
}

func start(program string, environment []string, kubeconfig []byte, arguments ...string) (*Operator, error) {
	directory, err := os.MkdirTemp("", "pgtls-beside-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(directory, "kubeconfig")
	address, addressErr := freeAddress()
	if err := errors.Join(os.WriteFile(file, kubeconfig, 0o600), addressErr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	o := &Operator{directory: directory, metrics: "http://" + address + "/metrics", ended: make(chan struct{})}
	o.command = exec.Command(filepath.Join("bin", program),
		append([]string{"--operator-namespace=default", "--health-probe-bind-address=0", "--metrics-bind-address=" + address}, arguments...)...)
	o.command.Env = append(environment, "KUBECONFIG="+file, "HOME="+directory, "RELATED_IMAGE_POSTGRES_15=none", "RELATED_IMAGE_POSTGRES_17=none",
		"RELATED_IMAGE_PGBOUNCER=none", "RELATED_IMAGE_AGENT=none")
	o.command.Stdout, o.command.Stderr = &o.output, &o.output
	o.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive this program
	if err := o.command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the operator: %w", err), os.RemoveAll(directory))
	}
	go func() {
		_ = o.command.Wait() // how it ended does not matter: it is killed
		close(o.ended)
	}()
	return o, nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// Stop may be called again.
func (o *Operator) Stop() {
	_ = o.command.Process.Kill()
	<-o.ended
	_ = os.RemoveAll(o.directory)
}

// WriteProfiles has a profiled operator write cpu.pprof and heap.pprof into its folder, and waits until they are there.
func (o *Operator) WriteProfiles(ctx context.Context, folder string) error {
	if err := o.command.Process.Signal(syscall.SIGUSR1); err != nil {
		return fmt.Errorf("asking the operator for its profiles: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "done")); err == nil {
			return nil
		}
		if err := Pause(ctx, samplePause); err != nil {
			return fmt.Errorf("waiting for the operator's profiles: %w", err)
		}
	}
}

// Sample of an operator's memory, in bytes: anonymous resident pages, and the heap that Go has in use.
type Sample struct{ Resident, Heap int64 }

// AtRest takes the medians of several samples.
func (o *Operator) AtRest(ctx context.Context) (Sample, error) {
	if err := Pause(ctx, restTime); err != nil {
		return Sample{}, err
	}
	var resident, heap []int64
	for range sampleCount {
		taken, err := o.Sample(ctx)
		if err != nil {
			return Sample{}, err
		}
		resident, heap = append(resident, taken.Resident), append(heap, taken.Heap)
		if err := Pause(ctx, samplePause); err != nil {
			return Sample{}, err
		}
	}
	return Sample{median(resident), median(heap)}, nil
}

// Sample takes one now.
func (o *Operator) Sample(ctx context.Context) (Sample, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", o.command.Process.Pid))
	if err != nil {
		return Sample{}, fmt.Errorf("the operator is gone: %w: %s", err, o.output.String())
	}
	defer func() { _ = status.Close() }()
	kilobytes, err := valueIn(status, "RssAnon:")
	if err != nil {
		return Sample{}, err
	}
	heap, err := o.Metric(ctx, "go_memstats_heap_inuse_bytes")
	return Sample{int64(kilobytes * 1024), int64(heap)}, err
}

// Metric reads one of the operator's metrics, named with its labels as Prometheus' text has it.
func (o *Operator) Metric(ctx context.Context, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.metrics, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the operator's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	return valueIn(response.Body, name)
}

// Reconciliations are how many of a controller have ended so far.
func (o *Operator) Reconciliations(ctx context.Context, controller string) (float64, error) {
	return o.Metric(ctx, `controller_runtime_reconcile_time_seconds_count{controller="`+controller+`"}`)
}

// valueIn reads the number behind a name, as in /proc/<pid>/status and in Prometheus' text.
func valueIn(text io.Reader, name string) (float64, error) {
	scanner := bufio.NewScanner(text)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if fields := strings.Fields(scanner.Text()); len(fields) > 1 && fields[0] == name {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("there is no %s", name), scanner.Err())
}

func median(values []int64) int64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// Pause waits, unless ctx ends before.
func Pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

// Log is what the operator has written so far. It is read after Stop.
func (o *Operator) Log() string { return o.output.String() }

// clockTick is the unit of times in /proc/<pid>/stat: USER_HZ, see proc_pid_stat(5).
const clockTick = 10 * time.Millisecond

// CPU is the processor time that the operator has used so far, in user and system mode.
func (o *Operator) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("the operator is gone: %w", err)
	}
	_, rest, found := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("reading %q", text)
	}
	user, userErr := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(userErr, systemErr)
}
