package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Three real packages of a module: what go test says of them is printed, counted and judged.
func TestTheReportOfRealTests(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want []string // in what is printed
		hide string
		err  string
	}{
		"passes":           {`t.Log("quiet")`, []string{"ok  \texample.org/x", "unit: tests=1 skipped=0"}, "quiet", ""},
		"fails":            {`t.Error("broken")`, []string{"broken", "--- FAIL: TestX", "FAIL\texample.org/x", "tests=1"}, "=== CONT", "tests failed"},
		"skips":            {`t.Skip("no program")`, []string{"ok  \texample.org/x", "skipped: example.org/x TestX: x_test.go:4: no program", "skipped=1"}, "FAIL", "were skipped"},
		"does not compile": {`t.Nothing()`, []string{"t.Nothing undefined", "[build failed]"}, "ok", "tests failed"},
		"ends the process": {`panic("at once")`, []string{"panic: at once", "FAIL\texample.org/x"}, "ok  ", "tests failed"},
	} {
		t.Run(name, func(t *testing.T) {
			module := t.TempDir()
			write(t, module, "go.mod", "module example.org/x\n\ngo 1.24\n")
			write(t, module, "x_test.go", "package x\nimport \"testing\"\nfunc TestX(t *testing.T) {\n"+c.body+"\n}\n")
			var out strings.Builder
			r := newReport(&out)
			if err := test(t.Context(), pass{module: module, packages: []string{"./..."}}, r); err != nil {
				t.Fatal(err)
			}
			err := r.conclude()
			if got := fmt.Sprint(err); c.err == "" && err != nil || !strings.Contains(got, c.err) && c.err != "" {
				t.Errorf("concluded with %v, want %q", err, c.err)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %q:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), c.hide) {
				t.Errorf("shows %q:\n%s", c.hide, out.String())
			}
		})
	}
}

// Every test runs in one pass: with the race detector, or without it where it is said to.
func TestPasses(t *testing.T) {
	got := passes([]string{".", "other"}, true, "^TestLong$", "./a ./b", []string{"-shuffle=on"})
	want := []pass{
		{".", []string{"./..."}, []string{"-shuffle=on", "-race", "-skip=^TestLong$"}},
		{"other", []string{"./..."}, []string{"-shuffle=on", "-race", "-skip=^TestLong$"}},
		{".", []string{"./a", "./b"}, []string{"-shuffle=on", "-vet=off", "-run=^TestLong$"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(pass{})); diff != "" {
		t.Error(diff)
	}
	plain := []pass{{".", []string{"./..."}, []string{"-v"}}}
	if diff := cmp.Diff(plain, passes([]string{"."}, false, "", "", []string{"-v"}), cmp.AllowUnexported(pass{})); diff != "" {
		t.Error(diff)
	}
}

func TestARunWithoutATestIsAnError(t *testing.T) {
	r := newReport(&strings.Builder{})
	text, err := json.Marshal(event{Action: "skip", Package: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.read(strings.NewReader(string(text))); err != nil {
		t.Fatal(err)
	}
	if err := r.conclude(); err == nil || len(r.skipped) > 0 {
		t.Errorf("%v, %v", err, r.skipped)
	}
}

func write(t *testing.T, folder, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
