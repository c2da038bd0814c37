// Command unit runs the unit tests of every module beside the real programs, and fails when one test is skipped.
//
//	go run ./hack/unit [-modules=.,hack/devcluster] [-race [-unraced=PATTERN -unraced-in=PACKAGES]] [-- flags of go test]
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
	"slices"
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
	race := flag.Bool("race", false, "test with the race detector")
	unraced := flag.String("unraced", "", "the tests of this name run without the race detector")
	unracedIn := flag.String("unraced-in", "", "and are in these packages of the first module, separated by spaces")
	flag.Parse()
	if err := run(ctx, passes(strings.Split(*modules, ","), *race, *unraced, *unracedIn, flag.Args())); err != nil {
		fmt.Fprintln(os.Stderr, "unit:", err)
		os.Exit(1)
	}
}

// pass is one run of go test.
type pass struct {
	module   string
	packages []string
	flags    []string
}

// passes tests every module as a whole, and apart what is to go without the race detector.
func passes(modules []string, race bool, unraced, unracedIn string, flags []string) []pass {
	raced := slices.Clone(flags)
	if race {
		raced = append(raced, "-race")
	}
	if unraced != "" {
		raced = append(raced, "-skip="+unraced)
	}
	var all []pass
	for _, module := range modules {
		all = append(all, pass{module, []string{"./..."}, raced})
	}
	if unraced != "" {
		// The first pass has vetted them.
		all = append(all, pass{modules[0], strings.Fields(unracedIn), append(slices.Clone(flags), "-vet=off", "-run="+unraced)})
	}
	return all
}

func run(ctx context.Context, passes []pass) error {
	missing := apt.Missing(require.Needs())
	if len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "unit: installing", strings.Join(missing, " "))
	}
	if err := apt.Install(ctx, io.Discard, missing); err != nil {
		return err
	}
	report := newReport(os.Stdout)
	for _, p := range passes {
		if err := test(ctx, p, report); err != nil {
			return err
		}
	}
	return report.conclude()
}

// test runs one pass into the report. That tests fail is for the report to say.
func test(ctx context.Context, p pass, report *report) error {
	arguments := slices.Concat([]string{"-C", p.module, "test", "-json"}, p.flags, p.packages)
	command := exec.CommandContext(ctx, "go", arguments...)
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
