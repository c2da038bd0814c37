package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch sends to the returned channel whenever something in one of the directories changes. Signals that
// no receiver has taken yet become one. It watches directories and not files, because the kubelet swaps a link.
func watch(ctx context.Context, log *slog.Logger, dirs ...string) (<-chan struct{}, error) {
	return watchPaced(ctx, log, 0, dirs...)
}

// watchPaced is watch with a pause after each signal. What happens meanwhile waits in the kernel, which makes one
// event of many equal ones: a storm of writes costs a signal per pause.
func watchPaced(ctx context.Context, log *slog.Logger, pause time.Duration, dirs ...string) (<-chan struct{}, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching directories: %w", err)
	}
	for _, dir := range dirs {
		if err := watcher.Add(dir); err != nil {
			_ = watcher.Close() // the first error counts
			return nil, fmt.Errorf("watching %s: %w", dir, err)
		}
	}
	signals := make(chan struct{}, 1)
	go forward(ctx, log, pause, watcher, signals)
	return signals, nil
}

func forward(ctx context.Context, log *slog.Logger, pause time.Duration, watcher *fsnotify.Watcher, signals chan<- struct{}) {
	defer func() { _ = watcher.Close() }() // the agent is ending
	for {
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events:
		case err := <-watcher.Errors: // events may be lost, so it counts as one
			log.Warn("watching directories", "error", err)
		}
		select {
		case signals <- struct{}{}:
		default:
		}
		if pause > 0 {
			rest(ctx, pause)
		}
	}
}

// rest returns after a pause, or when ctx ends.
func rest(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
