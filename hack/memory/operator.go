package main

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

// operator is the real program as a process.
type operator struct {
	command   *exec.Cmd
	directory string
	metrics   string
	log       bytes.Buffer
	ended     chan struct{}
}

func startOperator(kubeconfig []byte) (*operator, error) {
	directory, err := os.MkdirTemp("", "pgtls-memory-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(directory, "kubeconfig")
	address, addressErr := freeAddress()
	if err := errors.Join(os.WriteFile(file, kubeconfig, 0o600), addressErr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	o := &operator{directory: directory, metrics: "http://" + address + "/metrics", ended: make(chan struct{})}
	o.command = exec.Command(filepath.Join("bin", "operator"),
		"--operator-namespace=default", "--health-probe-bind-address=0", "--metrics-bind-address="+address)
	o.command.Env = []string{"KUBECONFIG=" + file, "HOME=" + directory, "RELATED_IMAGE_POSTGRES_15=none", "RELATED_IMAGE_POSTGRES_17=none",
		"RELATED_IMAGE_PGBOUNCER=none", "RELATED_IMAGE_AGENT=none"}
	o.command.Stdout, o.command.Stderr = &o.log, &o.log
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

// stop may be called again.
func (o *operator) stop() {
	_ = o.command.Process.Kill()
	<-o.ended
	_ = os.RemoveAll(o.directory)
}

// sample of an operator's memory, in bytes.
type sample struct{ resident, heap int64 }

// atRest takes the medians of several samples.
func (o *operator) atRest(ctx context.Context) (sample, error) {
	if err := pause(ctx, restTime); err != nil {
		return sample{}, err
	}
	var resident, heap []int64
	for range sampleCount {
		taken, err := o.sample(ctx)
		if err != nil {
			return sample{}, err
		}
		resident, heap = append(resident, taken.resident), append(heap, taken.heap)
		if err := pause(ctx, samplePause); err != nil {
			return sample{}, err
		}
	}
	return sample{median(resident), median(heap)}, nil
}

func (o *operator) sample(ctx context.Context) (sample, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", o.command.Process.Pid))
	if err != nil {
		return sample{}, fmt.Errorf("the operator is gone: %w: %s", err, o.log.String())
	}
	defer func() { _ = status.Close() }()
	kilobytes, err := valueIn(status, "RssAnon:")
	if err != nil {
		return sample{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.metrics, nil)
	if err != nil {
		return sample{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return sample{}, fmt.Errorf("reading the operator's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	heap, err := valueIn(response.Body, "go_memstats_heap_inuse_bytes")
	return sample{int64(kilobytes * 1024), int64(heap)}, err
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

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}
