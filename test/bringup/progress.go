package bringup

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Progress prints what happens, with the time since the start. Steps may run side by side.
type Progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// startedVariable names the environment variable that tells a program when the one that started it began.
const startedVariable = "PGTLS_STARTED"

// NewProgress begins to count now, or when the program that started this one did.
func NewProgress(out io.Writer) *Progress {
	start, err := time.Parse(time.RFC3339Nano, os.Getenv(startedVariable))
	if err != nil {
		start = time.Now()
	}
	return &Progress{out: out, start: start}
}

// Say prints one line.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	elapsed := time.Since(p.start).Round(time.Second)
	fmt.Fprintf(p.out, "[%5s] %s\n", elapsed, fmt.Sprintf(format, args...))
}

// reminder is how often a long step says that it goes on.
const reminder = 20 * time.Second

// Step says that it begins, now and then that it goes on, and how long it took. Its error names it.
func (p *Progress) Step(name string, do func() error) error {
	begun := time.Now()
	p.Say("%s ...", name)
	done := make(chan struct{})
	var reminding sync.WaitGroup
	reminding.Go(func() {
		ticker := time.NewTicker(reminder)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p.Say("%s ... still at it", name)
			}
		}
	})
	err := do()
	close(done)
	reminding.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.Say("%s: done in %.1fs", name, time.Since(begun).Seconds())
	return nil
}
