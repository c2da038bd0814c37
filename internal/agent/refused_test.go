package agent

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgtls.dev/pgtls/internal/agentapi"
)

const (
	refusedLine  = "2026-11-25 13:09:36.898 UTC [12781] LOG:  could not accept SSL connection: tlsv1 alert unknown ca\n"
	acceptedLine = "2026-11-25 13:09:36.898 UTC [12781] LOG:  connection authorized: user=app\n"
)

// tellNow makes everything counted told.
func (r *refusals) tellNow() []agentapi.Refused {
	r.tell(r.toldAt.Add(refusedPause))
	return r.told()
}

func counts(told []agentapi.Refused) string {
	var text []string
	for _, entry := range told {
		text = append(text, entry.Revision+"="+strconv.FormatUint(entry.Count, 10))
	}
	return strings.Join(text, " ")
}

func TestALineCountsForWhatWasServedWhenItWasWritten(t *testing.T) {
	log := newLogFile(t)
	r := newRefusals(log.path)
	r.setReadable(true)
	log.append("0123456789")
	r.add("unknown ca", 5) // before anything was seen to be served
	r.begin("a", "k1", noon)
	r.add("unknown ca", 10)
	r.add("unknown ca", 11)
	log.append("0123456789")
	r.begin("b", "k2", noon.Add(time.Minute))
	r.add("bad certificate", 20) // read late
	r.add("unknown ca", 21)
	want := []agentapi.Refused{
		{Revision: "b", Issuer: "k2", Since: noon.Add(time.Minute), Count: 1, Last: "unknown ca"},
		{Revision: "a", Issuer: "k1", Since: noon, Until: new(noon.Add(time.Minute)), Count: 2, Last: "bad certificate"},
	}
	if diff := cmp.Diff(want, r.tellNow()); diff != "" {
		t.Error(diff)
	}

	r.restart()
	r.add("unknown ca", 1)
	if got := counts(r.tellNow()); got != "b=2 a=2" {
		t.Errorf("after the log began anew: %s", got)
	}
	for n, revision := range []string{"c", "d", "e"} {
		r.begin(revision, "k", noon.Add(time.Duration(n)*time.Hour))
	}
	if got := counts(r.told()); got != "e=0 d=0 c=0 b=2" {
		t.Errorf("told is %s", got)
	}
}

func TestWithoutALogNothingIsTold(t *testing.T) {
	r := newRefusals(newLogFile(t).path)
	r.begin("a", "k", noon)
	if told := r.told(); told != nil {
		t.Errorf("told %+v of a log that nobody has read", told)
	}
	if !r.setReadable(true) || r.setReadable(true) || counts(r.told()) != "a=0" {
		t.Errorf("told %+v", r.told())
	}
	if !r.setReadable(false) || r.told() != nil {
		t.Errorf("told %+v of a log that is gone", r.told())
	}
}

// followed is an agent that follows a log, with the signals of the test.
type followed struct {
	log     *logFile
	agent   *Agent
	copied  bytes.Buffer // look only while the agent is at rest
	signals chan struct{}
}

func startFollowing(t *testing.T) *followed {
	t.Helper()
	f := &followed{log: newLogFile(t), signals: make(chan struct{}, 1)}
	agent, err := New(Config{
		Pod: "p", Kind: agentapi.Instance, ActiveDir: t.TempDir(), LogFile: f.log.path, LogCopy: &f.copied, Now: time.Now, Log: discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.agent = agent
	f.log.append(refusedLine) // before this agent
	agent.refusals.begin("a", "k", time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		agent.follow(ctx, f.signals)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return f
}

func (f *followed) write(text string) {
	f.log.append(text)
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
		if err := os.Remove(f.log.path); err != nil {
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
