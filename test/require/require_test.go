package require

import (
	"path/filepath"
	"runtime"
	"testing"
)

// verdict is a test of which only the end is noted.
type verdict struct {
	testing.TB
	end string
}

func (*verdict) Helper() {}
func (v *verdict) Skip(...any) {
	v.end = "skipped"
	runtime.Goexit()
}
func (v *verdict) Fatal(...any) {
	v.end = "failed"
	runtime.Goexit()
}
func (v *verdict) Fatalf(string, ...any) { v.Fatal() }

func endOf(test func(testing.TB)) string {
	v := &verdict{end: "passed"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(v)
	}()
	<-done
	return v.end
}

// A lack fails exactly where "make test" asks for the real programs.
func TestALackFailsWhereProgramsAreRequired(t *testing.T) {
	for value, want := range map[string]string{"": "skipped", "1": "failed"} {
		t.Setenv(Variable, value)
		if got := endOf(func(t testing.TB) { Missing(t, "nothing") }); got != want {
			t.Errorf("%s=%q: %s, want %s", Variable, value, got, want)
		}
		if got := endOf(func(t testing.TB) { Program(t, "no-such-package") }); got != "failed" {
			t.Errorf("a package that nothing installs: %s", got)
		}
		if got := endOf(func(t testing.TB) { Program(t, "git") }); got != "passed" {
			t.Errorf("a program that is here: %s", got)
		}
	}
}

func TestNeedsAreProgramsOfOnePackageEach(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range Needs() {
		if seen[n.Package] || filepath.Base(n.File) == "" {
			t.Errorf("%+v stands twice or names no program", n)
		}
		seen[n.Package] = true
	}
}
