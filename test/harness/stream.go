package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"pgtls.dev/pgtls/test/loadgen/record"
)

// A stream is a loadgen that runs in the client pod.
type stream struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	stderr  bytes.Buffer
	cancel  context.CancelFunc
	started chan struct{} // closed with the line that says so
	ended   chan struct{} // closed when no line can follow
	err     error         // of reading, once ended
}

const (
	streamStartLimit = time.Minute
	streamStopLimit  = 90 * time.Second // loadgen finishes attempts that may take 30 s, and pgbench's run
)

// startLoadgen runs a subcommand of loadgen, hands every line to receive, from one goroutine, and
// returns when loadgen says that it has started.
func (p *ClientPod) startLoadgen(ctx context.Context, receive func(record.Line), arguments ...string) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{
		command: p.command(ctx, append([]string{"loadgen"}, arguments...)...), cancel: cancel,
		started: make(chan struct{}), ended: make(chan struct{}),
	}
	s.command.Stderr = &s.stderr
	stdout, stdin, err := pipes(s.command)
	if err != nil {
		cancel()
		return nil, err
	}
	s.stdin = stdin
	if err := s.command.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("starting loadgen: %w", err)
	}
	go s.read(stdout, receive)
	select {
	case <-s.started:
		return s, nil
	case <-s.ended:
		cancel()
		return nil, fmt.Errorf("starting loadgen %s: %s", arguments[0], s.complaint())
	case <-time.After(streamStartLimit):
		cancel()
		return nil, fmt.Errorf("starting loadgen %s: it has not begun after %s", arguments[0], streamStartLimit)
	}
}

func pipes(command *exec.Cmd) (io.Reader, io.WriteCloser, error) {
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	stdin, err := command.StdinPipe()
	return stdout, stdin, err
}

func (s *stream) read(stdout io.Reader, receive func(record.Line)) {
	defer close(s.ended)
	final := false
	err := record.Each(stdout, func(line record.Line) {
		receive(line)
		final = final || line.Final
		if line.Kind == record.Started {
			close(s.started)
		}
	})
	waited := s.command.Wait()
	switch {
	case final:
	case err != nil:
		s.err = err
	default:
		// Figures that are not the last ones would make a story pass that did not.
		s.err = errors.Join(errors.New("it ended without its last figures"), waited)
	}
}

// stop asks loadgen to finish and waits until it has.
func (s *stream) stop() error {
	defer s.cancel()
	_ = s.stdin.Close()
	select {
	case <-s.ended:
	case <-time.After(streamStopLimit):
		return fmt.Errorf("stopping loadgen: it runs on after %s", streamStopLimit)
	}
	if s.err != nil {
		return fmt.Errorf("stopping loadgen: %s", s.complaint())
	}
	return nil
}

func (s *stream) complaint() string {
	return fmt.Sprintf("%v: %s", s.err, strings.TrimSpace(s.stderr.String()))
}
