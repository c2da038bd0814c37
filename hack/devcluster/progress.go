package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints one line per step, with the time since the command began and
// the time that the step took. Steps may run side by side.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, begun: time.Now()} }

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "[%6.1fs] %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}

// step runs one step and says how long it took, or which step failed.
func (p *progress) step(name string, do func() error) error {
	begun := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.say("%s (%.1fs)", name, time.Since(begun).Seconds())
	return nil
}

// longStep is a step of minutes: it says that it began, and every 20 s that it goes on.
func (p *progress) longStep(name string, do func() error) error {
	p.say("%s ...", name)
	done := make(chan struct{})
	defer close(done)
	begun := time.Now()
	go func() {
		ticker := time.NewTicker(20 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p.say("%s ... still at it after %.0fs", name, time.Since(begun).Seconds())
			}
		}
	}()
	return p.step(name, do)
}
