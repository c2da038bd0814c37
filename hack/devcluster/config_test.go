package main

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestConfigurationIsRenderedAsInGoldenFiles(t *testing.T) {
	templates, err := fs.ReadDir(configFiles, "config")
	if err != nil {
		t.Fatal(err)
	}
	s := settingsFor(layout{state: "/state"}, node{index: 2})
	for _, entry := range templates {
		t.Run(entry.Name(), func(t *testing.T) {
			got, err := render(entry.Name(), s)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, entry.Name(), string(got))
		})
	}
}

func TestCommandLinesAreAsInGoldenFile(t *testing.T) {
	var got strings.Builder
	for _, d := range daemons(layout{state: "/state"}, nodesUpTo(2)) {
		got.WriteString(d.name + " in " + d.netns + "\n  " + strings.Join(d.argv, "\n  ") + "\n")
	}
	compareGolden(t, "daemons", got.String())
}

func TestNetworkCommandsAreAsInGoldenFile(t *testing.T) {
	var got strings.Builder
	for _, n := range nodesUpTo(2) {
		for _, argv := range networkCommands(n) {
			got.WriteString(strings.Join(argv, " ") + "\n")
		}
	}
	compareGolden(t, "network", got.String())
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got; accept with -update):\n%s", path, diff)
	}
}

func TestNodesShareNoAddressAndNoName(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range nodesUpTo(maxNodes) {
		for _, value := range []string{n.name(), n.netns(), n.address(), n.podCIDR(), n.cgroup()} {
			if seen[value] {
				t.Errorf("%s has %s, which another node has too", n.name(), value)
			}
			seen[value] = true
		}
		if !isOurNetns(n.netns()) {
			t.Errorf("clean-up would leave namespace %s", n.netns())
		}
	}
}

func TestCleanUpLeavesForeignNamespaces(t *testing.T) {
	for _, name := range []string{"pg", "pgtlsx", "cni-1234", "my-pgtls"} {
		if isOurNetns(name) {
			t.Errorf("clean-up would delete namespace %s", name)
		}
	}
}
