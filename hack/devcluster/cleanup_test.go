package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyThisClustersShimsAreItsShims(t *testing.T) {
	const nodes = "/state/nodes"
	for _, test := range []struct {
		args string
		want bool
	}{
		{"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id 12 -address /state/nodes/node-1/containerd.sock", true},
		{"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id 12 -address /run/containerd/containerd.sock", false},
		{"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id 12 -address /state/nodes-2/containerd.sock", false},
		{"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id 12 -address", false},
		{"/usr/bin/less -address /state/nodes/node-1/containerd.sock", false},
		{"", false},
	} {
		cmdline := strings.ReplaceAll(test.args, " ", "\x00") + "\x00"
		if got := isShim([]byte(cmdline), nodes); got != test.want {
			t.Errorf("%q: got %t, want %t", test.args, got, test.want)
		}
	}
}

func TestTasksTellTheirSockets(t *testing.T) {
	dir := t.TempDir()
	with, without := filepath.Join(dir, "with"), filepath.Join(dir, "without")
	if err := writeFile(filepath.Join(with, "address"), []byte("unix:///run/containerd/s/abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(without, 0o755); err != nil {
		t.Fatal(err)
	}
	got := shimSockets([]string{with, without})
	if diff := cmp.Diff([]string{"/run/containerd/s/abc"}, got); diff != "" {
		t.Error(diff)
	}
}
