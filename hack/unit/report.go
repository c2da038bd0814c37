package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a line of "go test -json": see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
}

// report prints events as "go test" without -v does, and counts.
type report struct {
	out     io.Writer
	said    map[string]*strings.Builder // by package and test: printed when the test fails
	tests   int
	skipped []string // each with its reason
	failed  bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, said: map[string]*strings.Builder{}}
}

func (r *report) read(events io.Reader) error {
	for decoder := json.NewDecoder(events); ; {
		var e event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading what go test says: %w", err)
		}
		r.take(e)
	}
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output(e, key)
	case "pass", "fail", "skip":
		r.end(e, key)
	}
}

// output of a package is printed at once, that of a test kept until it is known to be of use.
func (r *report) output(e event, key string) {
	if e.Test == "" {
		if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "-test.shuffle ") {
			fmt.Fprint(r.out, e.Output)
		}
		return
	}
	if r.said[key] == nil {
		r.said[key] = &strings.Builder{}
	}
	r.said[key].WriteString(e.Output)
}

func (r *report) end(e event, key string) {
	said := r.said[key]
	delete(r.said, key)
	if e.Action == "fail" {
		r.failed = true
	}
	if e.Test == "" {
		return
	}
	r.tests++
	switch {
	case e.Action == "skip":
		r.skipped = append(r.skipped, key+reasonOf(said))
	case e.Action == "fail" && said != nil:
		fmt.Fprint(r.out, said.String())
	}
}

// reasonOf a skip is the line before "--- SKIP".
func reasonOf(said *strings.Builder) string {
	if said == nil {
		return ""
	}
	for line := range strings.Lines(said.String()) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return ": " + line
		}
	}
	return ""
}

// conclude prints the counts; a skipped test is an error as much as a failed one.
func (r *report) conclude() error {
	for _, skip := range r.skipped {
		fmt.Fprintln(r.out, "skipped:", skip)
	}
	fmt.Fprintf(r.out, "unit: tests=%d skipped=%d\n", r.tests, len(r.skipped))
	switch {
	case r.failed:
		return errors.New("tests failed")
	case len(r.skipped) > 0:
		return errors.New("tests were skipped: each shows nothing")
	case r.tests == 0:
		return errors.New("no test ran")
	}
	return nil
}
