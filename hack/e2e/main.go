// Command e2e tells the end-to-end stories of test/e2e: all of them, or the
// one that STORY names. It brings up what they need, unless it is there, and
// takes down what it brought up; KEEP=1 leaves it, and a failed story's cluster too.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"pgtls.dev/pgtls/test/bringup"
	"pgtls.dev/pgtls/test/harness"
)

// timeLimit of all stories together; a story has limits of its own for everything it waits for.
func timeLimit() string {
	if harness.Soak() {
		return "180m"
	}
	return "70m"
}

// sideBySide stories at most, whatever the number of processors: those that are told so mostly wait.
const sideBySide = "3"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stories := &failures{out: os.Stdout}
	if err := run(ctx, stories); err != nil {
		stories.print(os.Stderr) // last, where a reader of a long log looks first
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, heard io.Writer) (err error) {
	progress := bringup.NewProgress(os.Stderr)
	machine, err := bringup.New(ctx, progress)
	if err != nil {
		return err
	}
	defer func() {
		if downErr := machine.Down(); err == nil {
			err = downErr
		}
	}()
	images, err := machine.Up(ctx)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "pgtls-e2e-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	program := filepath.Join(folder, "e2e.test")
	if err := progress.Step("the stories' program", func() error { return compile(ctx, program) }); err != nil {
		return err
	}
	return machine.Inside(ctx, images, heard, program, "-test.v", "-test.parallel="+sideBySide, "-test.timeout="+timeLimit(), "-test.run="+selection(os.Getenv("STORY")))
}

func compile(ctx context.Context, program string) error {
	command := exec.CommandContext(ctx, "go", "test", "-c", "-tags=e2e", "-o", program, "./test/e2e")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	return command.Run()
}

// selection of stories, as the testing package wants it.
func selection(story string) string {
	if story == "" {
		return "^TestStory$"
	}
	return "^TestStory$/^" + story + "$"
}
