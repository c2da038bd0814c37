package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgtls.dev/pgtls/internal/agentapi"
	"pgtls.dev/pgtls/internal/party"
)

const (
	refusedLine  = "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: tlsv1 alert unknown ca\n"
	acceptedLine = "2026-11-25 13:09:36.898 UTC [12781] LOG:  connection authorized: user=app\n"
)

func counts(told []agentapi.Refused) string {
	var text []string
	for _, entry := range told {
		text = append(text, entry.Revision+"="+strconv.FormatUint(entry.Count, 10))
	}
	return strings.Join(text, " ")
}

// followed is an agent that follows a log, with the signals of the test.
type followed struct {
	t       *testing.T
	log     string
	agent   *Agent
	copied  bytes.Buffer // look only while the agent is at rest
	signals chan struct{}
}

func startFollowing(t *testing.T) *followed {
	t.Helper()
	f := &followed{t: t, log: filepath.Join(t.TempDir(), "process.log"), signals: make(chan struct{}, 1)}
	agent, err := New(Config{
		Pod: "p", Kind: party.Instance, ActiveDir: t.TempDir(), LogFile: f.log, LogCopy: &f.copied, Now: time.Now, Log: discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.agent = agent
	f.append(refusedLine) // before this agent
	agent.tail.Begin("a", "k", time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		agent.tail.Run(ctx, f.signals)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return f
}

func (f *followed) append(text string) {
	f.t.Helper()
	file, err := os.OpenFile(f.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.WriteString(text)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *followed) write(text string) {
	f.append(text)
	f.signals <- struct{}{}
	synctest.Wait()
}

func (f *followed) report() agentapi.Report {
	report, _ := f.agent.reports.get()
	return report
}

func TestTheFirstRefusalIsToldAtOnceAndAStormOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFollowing(t)
		first := f.report()
		if counts(first.Refused) != "a=0" {
			t.Fatalf("at first %+v", first.Refused)
		}
		f.write(acceptedLine)
		if got := f.report(); got.Sequence != first.Sequence {
			t.Errorf("an ordinary line is news: %+v", got)
		}
		f.write(refusedLine)
		if got := f.report(); counts(got.Refused) != "a=1" || got.Refused[0].Last != "unknown ca" || got.Sequence != first.Sequence+1 {
			t.Errorf("the first refusal is told as %+v", got)
		}
		for range 95 { // 9.5 s
			f.write(strings.Repeat(refusedLine, 10))
			f.agent.reports.publish(f.report()) // a turn meanwhile tells no more than is due
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if got := f.report(); got.Sequence != first.Sequence+1+9 {
			t.Errorf("%d reports in 9.5 s, the last of %s", got.Sequence-first.Sequence, counts(got.Refused))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := f.report(); counts(got.Refused) != "a=951" || got.Sequence != first.Sequence+1+10 {
			t.Errorf("the last count is told as %s in report %d", counts(got.Refused), got.Sequence-first.Sequence)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		start := f.report().Sequence
		f.write(refusedLine)
		if got := f.report(); counts(got.Refused) != "a=952" || got.Sequence != start+1 {
			t.Errorf("after a quiet hour %s", counts(got.Refused))
		}
		if want := 2 + 950 + 1; strings.Count(f.copied.String(), refusedLine) != want || !strings.Contains(f.copied.String(), acceptedLine) {
			t.Errorf("%d lines were copied, want %d", strings.Count(f.copied.String(), refusedLine), want)
		}
	})
}

func TestALogThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFollowing(t)
		if err := os.Remove(f.log); err != nil {
			t.Fatal(err)
		}
		f.signals <- struct{}{}
		synctest.Wait()
		if got := f.report(); got.Refused != nil {
			t.Errorf("told %+v without a log", got.Refused)
		}
		f.write(refusedLine)
		if got := f.report(); counts(got.Refused) != "a=1" {
			t.Errorf("of the new log %s is told", counts(got.Refused))
		}
	})
}

// A directory that cannot be watched stops no agent.
func TestNoDirectoryOfTheLog(t *testing.T) {
	b := newBench(t)
	b.agent.config.LogFile = filepath.Join(t.TempDir(), "missing", "log")
	b.agent.followLog(t.Context())
	if got, _ := b.agent.reports.get(); got.Refused != nil {
		t.Errorf("told %+v", got.Refused)
	}
}
