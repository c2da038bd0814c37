package logtail

import (
	"context"
	"io"
	"log/slog"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

// Config of a Tail. Every field is required unless it says otherwise.
type Config struct {
	Program party.Program
	File    string    // that the process writes; "": nothing is counted
	Copy    io.Writer // gets what is written to File, unchanged; nil: nothing is copied
	Changed func()    // is called when Told returns something else than before
	Now     func() time.Time
	Log     *slog.Logger
}

// Tail follows the log of one process.
type Tail struct {
	config   Config
	refusals *refusals
}

// New follows nothing yet.
func New(config Config) *Tail { return &Tail{config: config, refusals: newRefusals(config.File)} }

// Begin opens an entry for a revision that is seen to be served from now on, with the key id of its issuer.
func (t *Tail) Begin(revision, issuer string, now time.Time) { t.refusals.begin(revision, issuer, now) }

// Told returns the refusals to report, newest entry first; nil while there is no log to read.
func (t *Tail) Told() []agentapi.Refused { return t.refusals.told() }

// never is how long a timer runs that nothing needs.
const never = 24 * time.Hour

// Run counts refused handshakes, and copies the log, until ctx ends. A signal says that the log may have grown.
func (t *Tail) Run(ctx context.Context, signals <-chan struct{}) {
	f := newFollower(t.config.File)
	defer f.close()
	for ctx.Err() == nil {
		chunk := t.read(f)
		wait := t.tell()
		if len(chunk) > 0 {
			if t.config.Copy != nil {
				_, _ = t.config.Copy.Write(chunk) // nothing reports that a copy is incomplete
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-signals:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// read takes in the next piece of the log and returns it; nothing at its end.
func (t *Tail) read(f *follower) []byte {
	chunk, err := f.next()
	if news := f.failed(err); news {
		t.config.Log.Warn("reading the log of the process", "error", err)
	}
	if f.restarted {
		t.refusals.restart()
	}
	f.lines(chunk, func(line []byte, end int64) {
		if alert := refusedBy(t.config.Program, line); alert != "" {
			t.refusals.add(alert, end)
		}
	})
	if t.refusals.setReadable(f.file != nil) {
		t.config.Changed()
	}
	return chunk
}

// tell reports what has changed, and returns when to come back for what has to wait.
func (t *Tail) tell() time.Duration {
	changed, wait := t.refusals.tell(t.config.Now())
	if changed {
		t.config.Changed()
	}
	if wait == 0 {
		return never
	}
	return wait
}
