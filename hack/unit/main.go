// Command unit runs the unit tests of every module beside the real programs, and fails when one test is skipped.
//
//	go run ./hack/unit [-modules=.,hack/devcluster] [flags of go test]
//
// It installs the programs that lack (see test/require), prints what "go test" prints without -v, and ends with
// "unit: tests=N skipped=0".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"pgtls.dev/pgtls/hack/apt"
	"pgtls.dev/pgtls/test/require"
)

func main() {
	// An interruption reaches go test too, which ends the tests; this program waits for what they say.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	modules := flag.String("modules", ".", "directories of the modules, separated by commas")
	flag.Parse()
	if err := run(ctx, strings.Split(*modules, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "unit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, modules, flags []string) error {
	missing := apt.Missing(require.Needs())
	if len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "unit: installing", strings.Join(missing, " "))
	}
	if err := apt.Install(ctx, io.Discard, missing); err != nil {
		return err
	}
	report := newReport(os.Stdout)
	for _, module := range modules {
		if err := test(ctx, module, flags, report); err != nil {
			return err
		}
	}
	return report.conclude()
}

// test runs one module's tests into the report. That tests fail is for the report to say.
func test(ctx context.Context, module string, flags []string, report *report) error {
	arguments := append([]string{"-C", module, "test", "-json"}, flags...)
	command := exec.CommandContext(ctx, "go", append(arguments, "./...")...)
	command.Cancel = func() error { return nil } // see main
	command.Env = append(os.Environ(), require.Variable+"=1")
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	readErr := report.read(output)
	if err := command.Wait(); err != nil {
		report.failed = true
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			return fmt.Errorf("go test: %w", err)
		}
	}
	return readErr
}
