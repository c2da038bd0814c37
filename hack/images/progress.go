package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints one line per event, with the time since the start. Several builds may speak at once.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
	now   func() time.Time
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	return &progress{out: out, start: now(), now: now}
}

func (p *progress) say(subject, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%6.1fs  %-15s %s\n", p.now().Sub(p.start).Seconds(), subject, fmt.Sprintf(format, args...))
}

// stillRunning is how often a long step says that it goes on.
const stillRunning = 15 * time.Second

// during runs act and repeats what it is about until it returns.
func (p *progress) during(subject, doing string, act func() error) error {
	p.say(subject, "%s", doing)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(stillRunning)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.say(subject, "still %s", doing)
			}
		}
	})
	err := act()
	close(done)
	wg.Wait()
	return err
}
