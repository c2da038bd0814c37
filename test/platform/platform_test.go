package platform

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The throwaway cluster is asked by its command line alone; a stand-in of that name notes what it is asked.
func TestTheThrowawayClusterIsAskedByItsCommandLine(t *testing.T) {
	t.Setenv(ContextVariable, "")
	root := t.TempDir()
	asked := filepath.Join(root, "asked")
	script(t, root, "devcluster", "echo \"$@\" >>"+asked+"\n[ \"$1\" != status ]\n")
	makefile := "bin/devcluster: FORCE\n\t@echo made >>" + asked + "\nFORCE:\n"
	if err := os.WriteFile(filepath.Join(root, "Makefile"), []byte(makefile), 0o600); err != nil {
		t.Fatal(err)
	}
	k := New(root)
	if !k.Throwaway() || k.Running(t.Context()) {
		t.Errorf("throwaway %v, running although status fails", k.Throwaway())
	}
	var log strings.Builder
	for name, act := range map[string]func(context.Context) error{
		"up":   func(ctx context.Context) error { return k.Up(ctx, &log) },
		"load": func(ctx context.Context) error { return k.Load(ctx, &log, "a.tar", "b.tar") },
		"down": func(ctx context.Context) error { return k.Down(ctx, &log) },
	} {
		if err := act(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	said, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"made\nstatus\n", "made\nup\n", "made\nload a.tar b.tar\n", "made\ndown\n"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("not asked %q:\n%s", want, said)
		}
	}
	want := []string{filepath.Join(root, "bin", "devcluster"), "exec", "--", "kubectl", "get", "pods"}
	if diff := cmp.Diff(want, k.Exec("kubectl", "get", "pods")); diff != "" {
		t.Error(diff)
	}
}

func TestAContextOfTheUsersIsNeitherMadeNorEnded(t *testing.T) {
	t.Setenv(ContextVariable, "mine")
	k := New(filepath.Join(t.TempDir(), "nothing-is-run-here"))
	if k.Throwaway() || !k.Running(t.Context()) || k.Up(t.Context(), nil) != nil || k.Down(t.Context(), nil) != nil {
		t.Error("something is made or ended")
	}
	if diff := cmp.Diff([]string{"kubectl"}, k.Exec("kubectl")); diff != "" {
		t.Error(diff)
	}
	if err := k.Load(t.Context(), nil, "a.tar"); err == nil || !strings.Contains(err.Error(), `"mine" takes images from a registry`) {
		t.Errorf("an archive: %v", err)
	}
}

func script(t *testing.T, root, name, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
}
