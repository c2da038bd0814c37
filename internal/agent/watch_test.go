package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func awaitSignal(t *testing.T, signals <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-signals:
	case <-time.After(10 * time.Second):
		t.Fatalf("no signal after %s", what)
	}
}

func drain(signals <-chan struct{}) {
	for {
		select {
		case <-signals:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

func TestEverySwapOfTheKubeletIsSeen(t *testing.T) {
	volume, pod, sockets := newVolume(t), newVolume(t), t.TempDir()
	signals, err := watch(t.Context(), discard(), volume.dir, pod.dir, sockets)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // the second swap is the one that a watch on the file would miss
		drain(signals)
		volume.deliver(map[string][]byte{"a": {byte(n)}})
		awaitSignal(t, signals, "a delivery of material")
		drain(signals)
		pod.ask("x")
		awaitSignal(t, signals, "a change of the annotation")
	}
	drain(signals)
	if err := os.WriteFile(filepath.Join(sockets, ".s.PGSQL.5432"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	awaitSignal(t, signals, "the process made its socket")
}

// Signals that no reader takes become one, and block no sender.
func TestSignalsCoalesce(t *testing.T) {
	volume := newVolume(t)
	signals, err := watch(t.Context(), discard(), volume.dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		volume.deliver(map[string][]byte{"a": {byte(n)}})
	}
	awaitSignal(t, signals, "a hundred deliveries")
	drain(signals)
	if len(signals) != 0 {
		t.Error("a signal without a change")
	}
}

func TestADirectoryThatIsNotThereIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := watch(t.Context(), discard(), t.TempDir(), missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
}

func TestWatchingEndsWithItsContext(t *testing.T) {
	volume := newVolume(t)
	ctx, cancel := context.WithCancel(t.Context())
	signals, err := watch(ctx, discard(), volume.dir)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for deadline := time.Now().Add(10 * time.Second); ; {
		drain(signals)
		volume.deliver(nil)
		select {
		case <-signals:
		case <-time.After(50 * time.Millisecond):
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still watching")
		}
	}
}
