package apt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMissing(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "there-15"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		needs []Need
		want  []string
	}{
		"nothing is needed":      {nil, nil},
		"programs on PATH":       {[]Need{{"go", "golang"}, {"sh", "dash"}}, nil},
		"a program of root":      {[]Need{{"useradd", "passwd"}}, nil},
		"files":                  {[]Need{{folder, "a"}, {folder + "/there-*", "b"}, {folder + "/missing-*", "c"}}, []string{"c"}},
		"one package, two files": {[]Need{{"no-such-program", "z"}, {"/no/such/file", "z"}, {"no-other", "a"}}, []string{"a", "z"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Missing(c.needs)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoServiceStartsWhilePackagesAreInstalled(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy-rc.d")
	release, err := withoutServices(policy)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(policy)
	if err != nil || string(content) != "#!/bin/sh\nexit 101\n" {
		t.Errorf("the policy is %q, %v", content, err)
	}
	again, err := withoutServices(policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(policy); err != nil {
		t.Errorf("a policy of the machine's own was removed: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(policy); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the policy stayed: %v", err)
	}
}

func TestTheErrorEndsWithWhatAptSaidLast(t *testing.T) {
	l := &lastLine{}
	for _, part := range []string{"Reading\nE: Unable to ", "locate package x\n", "\n"} {
		if _, err := l.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := l.String(), "E: Unable to locate package x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
