package process

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestProcStatIsReadPastAnOddCommandName(t *testing.T) {
	const tail = " S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 8 0 987654 1000 10 18446744073709551615"
	for _, name := range []string{"(etcd)", "(a b)", "(x) R 1 (y)", "())"} {
		got, err := parseProcStat("42 " + name + tail)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := (procStat{state: 'S', threads: 8, startTicks: 987654}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestAProcessHasEndedWhenItsLastThreadHas(t *testing.T) {
	for stat, want := range map[procStat]bool{
		{state: 'S', threads: 1}: false,
		{state: 'D', threads: 3}: false,
		{state: 'Z', threads: 3}: false,
		{state: 'Z', threads: 1}: true,
		{state: 'Z', threads: 0}: true,
		{state: 'X', threads: 1}: true,
	} {
		if got := stat.ended(); got != want {
			t.Errorf("%c with %d threads: ended %t, want %t", stat.state, stat.threads, got, want)
		}
	}
}

func TestProcStatRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, content := range []string{"", "42 etcd S 1", "42 (etcd) S 1 2", "42 (e) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if got, err := parseProcStat(content); err == nil {
			t.Errorf("%q was read as %+v", content, got)
		}
	}
}

func TestIdentitySurvivesItsPidFile(t *testing.T) {
	want := ID{PID: 4711, startTicks: 18446744073709551615}
	got, err := ParseID(want.String())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPidFileNeverNamesProcessesThatCannotBeOurs(t *testing.T) {
	for _, text := range []string{"", "12", "1 5", "0 5", "-1 5", "-12 5", "12 -5", "12 5 6", "x 5", "12 x"} {
		if got, err := ParseID(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// sleeper starts a process that lives until it is killed.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestARecycledPidIsNotKilled(t *testing.T) {
	cmd := sleeper(t)
	id, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	earlier := ID{PID: id.PID, startTicks: id.startTicks - 1}
	if earlier.Alive() {
		t.Error("another process with the same pid counts as alive")
	}
	if err := earlier.Kill(); err != nil {
		t.Fatal(err)
	}
	if !id.Alive() {
		t.Error("the process that got the pid was killed")
	}
}

func TestKilledProcessIsGoneEvenBeforeItIsReaped(t *testing.T) {
	cmd := sleeper(t)
	id, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := WaitGone(t.Context(), []ID{id}); err != nil { // no parent waits for it yet: a zombie
		t.Error(err)
	}
	if err := id.Kill(); err != nil {
		t.Errorf("killing again: %v", err)
	}
}

func TestPollGivesTheLastReason(t *testing.T) {
	reason := errors.New("not yet")
	err := Poll(t.Context(), time.Millisecond, func(context.Context) error { return reason })
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
}

func TestPollStopsWhenWaitingCannotHelp(t *testing.T) {
	reason, calls := errors.New("it died"), 0
	err := Poll(t.Context(), time.Hour, func(context.Context) error {
		calls++
		return Final{reason}
	})
	if !errors.Is(err, reason) || calls != 1 {
		t.Errorf("got %v after %d calls, want %v after one", err, calls, reason)
	}
}
