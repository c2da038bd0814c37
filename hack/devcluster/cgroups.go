package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgtls.dev/pgtls/hack/devcluster/mounts"
	"pgtls.dev/pgtls/hack/devcluster/process"
)

// cgroupMounts are the hierarchies on this machine: several with version 1, one with version 2.
func cgroupMounts() ([]mounts.Mount, error) {
	all, err := mounts.Read()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m mounts.Mount) bool { return m.Type != "cgroup" && m.Type != "cgroup2" }), nil
}

// makeCgroups makes the parent cgroup of a node's pods, which the kubelet wants to find.
func makeCgroups(n node) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := os.MkdirAll(filepath.Join(m.Point, n.cgroup()), 0o755); err != nil {
			return fmt.Errorf("making cgroup: %w", err)
		}
		if m.Type == "cgroup2" {
			delegateControllers(m.Point)
			delegateControllers(filepath.Join(m.Point, cgroupRoot))
		}
	}
	return nil
}

// delegateControllers lets a version 2 cgroup's children use its controllers.
// One that cannot be delegated is missed by the kubelet, which says so better.
func delegateControllers(dir string) {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(content)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// podProcesses are all processes in the cluster's cgroups: those of its containers.
func podProcesses() ([]process.ID, error) {
	found := map[process.ID]bool{}
	err := eachCgroup(func(dir string) error {
		content, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return ignoreMissing(err)
		}
		for _, field := range strings.Fields(string(content)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return fmt.Errorf("pid %q in %s: %w", field, dir, err)
			}
			if id, err := process.Of(pid); err == nil && pid > 1 { // 0 stands for one in another pid namespace
				found[id] = true
			}
		}
		return nil
	})
	var all []process.ID
	for id := range found {
		all = append(all, id)
	}
	return all, err
}

// removeCgroups removes the cluster's cgroups once their processes have ended.
func removeCgroups(ctx context.Context) error {
	return process.Poll(ctx, 10*time.Second, func(context.Context) error {
		var dirs []string
		err := eachCgroup(func(dir string) error {
			dirs = append(dirs, dir)
			return nil
		})
		slices.Reverse(dirs) // children before parents
		for _, dir := range dirs {
			err = errors.Join(err, ignoreMissing(os.Remove(dir)))
		}
		return err
	})
}

// eachCgroup visits the cluster's cgroups in every hierarchy, parents first.
func eachCgroup(visit func(dir string) error) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		err := filepath.WalkDir(filepath.Join(m.Point, cgroupRoot), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return ignoreMissing(err)
			}
			if !entry.IsDir() {
				return nil
			}
			return visit(path)
		})
		if err != nil {
			return fmt.Errorf("walking cgroups: %w", err)
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
