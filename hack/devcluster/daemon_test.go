package main

import (
	"os"
	"path/filepath"
	"testing"
)

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
	if len(found) != 1 || found["etcd"].String() != "4711 99" {
		t.Errorf("got %v, want etcd alone", found)
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
