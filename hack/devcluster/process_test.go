package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
	want := identity{pid: 4711, startTicks: 18446744073709551615}
	got, err := parseIdentity(want.String())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPidFileNeverNamesProcessesThatCannotBeOurs(t *testing.T) {
	for _, text := range []string{"", "12", "1 5", "0 5", "-1 5", "-12 5", "12 -5", "12 5 6", "x 5", "12 x"} {
		if got, err := parseIdentity(text); err == nil {
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
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	earlier := identity{pid: id.pid, startTicks: id.startTicks - 1}
	if earlier.alive() {
		t.Error("another process with the same pid counts as alive")
	}
	if err := earlier.kill(); err != nil {
		t.Fatal(err)
	}
	if !id.alive() {
		t.Error("the process that got the pid was killed")
	}
}

func TestKilledProcessIsGoneEvenBeforeItIsReaped(t *testing.T) {
	cmd := sleeper(t)
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.kill(); err != nil {
		t.Fatal(err)
	}
	if err := waitGone(t.Context(), []identity{id}); err != nil { // nobody waits for it yet: a zombie
		t.Error(err)
	}
	if err := id.kill(); err != nil {
		t.Errorf("killing again: %v", err)
	}
}

func TestUnreadablePidFilesNameNoProcess(t *testing.T) {
	l := layout{state: t.TempDir()}
	if found, err := l.processes(); err != nil || len(found) != 0 {
		t.Fatalf("without a cluster: %v, %v", found, err)
	}
	for name, content := range map[string]string{"etcd": "4711 99", "kubelet": "", "coredns": "1 1"} {
		if err := writeFile(l.pidFile(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := l.processes()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found["etcd"] != (identity{pid: 4711, startTicks: 99}) {
		t.Errorf("got %v, want etcd alone", found)
	}
}

func TestPollGivesTheLastReason(t *testing.T) {
	reason := errors.New("not yet")
	err := poll(t.Context(), time.Millisecond, func(context.Context) error { return reason })
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
}

func TestPollStopsWhenWaitingCannotHelp(t *testing.T) {
	reason, calls := errors.New("it died"), 0
	err := poll(t.Context(), time.Hour, func(context.Context) error {
		calls++
		return finalError{reason}
	})
	if !errors.Is(err, reason) || calls != 1 {
		t.Errorf("got %v after %d calls, want %v after one", err, calls, reason)
	}
}

func TestAnEndedDaemonTellsItsLastWords(t *testing.T) {
	log := filepath.Join(t.TempDir(), "etcd.log")
	if err := os.WriteFile(log, []byte("starting\naddress already in use\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &running{name: "etcd", log: log, exited: make(chan struct{})}
	if err := r.died(); err != nil {
		t.Fatalf("a living daemon: %v", err)
	}
	close(r.exited)
	want := "etcd ended: address already in use (all of it in " + log + ")"
	if err := r.died(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A cluster that was killed as a whole is made anew: its etcd tells of pods that are gone.
func TestOnlyOneEndedProcessIsRepaired(t *testing.T) {
	for ended, want := range []bool{true, true, false, false} {
		if got := worthKeeping(make([]daemon, ended)); got != want {
			t.Errorf("%d processes ended: kept: %t", ended, got)
		}
	}
}
