package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgtls.dev/pgtls/hack/devcluster/mounts"
	"pgtls.dev/pgtls/hack/devcluster/process"
)

// destroy ends and removes everything of a cluster, whole or half-made. It
// kills by SIGKILL: nothing of a throwaway cluster needs a farewell.
func destroy(ctx context.Context, l layout) error {
	if err := endProcesses(ctx, l); err != nil {
		return err
	}
	strays := findStrays(l)
	if err := mounts.UnmountBelow(l.state); err != nil {
		return err
	}
	if err := restoreSysctls(l); err != nil {
		return err
	}
	if err := removeNetworks(ctx); err != nil {
		return err
	}
	if err := removeCgroups(ctx); err != nil {
		return err
	}
	if err := removeStrays(strays); err != nil {
		return err
	}
	return os.RemoveAll(l.state)
}

// endProcesses ends first what would start others, then containers and shims.
func endProcesses(ctx context.Context, l layout) error {
	daemons, err := l.processes()
	if err != nil {
		return err
	}
	var all []process.ID
	for _, id := range daemons {
		all = append(all, id)
	}
	for _, find := range []func() ([]process.ID, error){
		func() ([]process.ID, error) { return nil, nil },
		func() ([]process.ID, error) { return shims(l) },
		podProcesses,
	} {
		more, err := find()
		if err != nil {
			return err
		}
		all = append(all, more...)
		for _, id := range all {
			if err := id.Kill(); err != nil {
				return err
			}
		}
	}
	return process.WaitGone(ctx, all)
}

// shims are the containerd shims of this cluster: they bear its socket's path in their arguments.
func shims(l layout) ([]process.ID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []process.ID
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil || !isShim(cmdline, l.path("nodes")) {
			continue
		}
		if id, err := process.Of(pid); err == nil {
			found = append(found, id)
		}
	}
	return found, nil
}

// isShim says whether a command line (NUL separated) is that of a shim whose
// containerd listens below nodesDir.
func isShim(cmdline []byte, nodesDir string) bool {
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	if filepath.Base(args[0]) != "containerd-shim-runc-v2" {
		return false
	}
	at := slices.Index(args, "-address")
	return at >= 0 && at+1 < len(args) && strings.HasPrefix(args[at+1], nodesDir+"/")
}

// findStrays finds the few files that kubelet, containerd and CNI insist on
// writing outside the state directory, which tells whose they are.
func findStrays(l layout) []string {
	tasks, _ := filepath.Glob(l.path("nodes", "*", "containerd-state", "io.containerd.runtime.v2.task", "*", "*"))
	return slices.Concat(shimSockets(tasks), cniResults(tasks), logLinks(l), devicePluginFiles())
}

// shimSockets are in /run/containerd whatever containerd's configuration says;
// each task's directory tells its own.
func shimSockets(tasks []string) []string {
	var sockets []string
	for _, task := range tasks {
		content, err := os.ReadFile(filepath.Join(task, "address"))
		if path, ok := strings.CutPrefix(strings.TrimSpace(string(content)), "unix://"); ok && err == nil {
			sockets = append(sockets, path)
		}
	}
	return sockets
}

// cniResults remember the networks of containers that were never taken down in order.
func cniResults(tasks []string) []string {
	var results []string
	for _, task := range tasks {
		for _, dir := range []string{"/var/lib/cni/results", "/var/lib/cni/cache/results"} {
			of, _ := filepath.Glob(filepath.Join(dir, "*-"+filepath.Base(task)+"-*"))
			results = append(results, of...)
		}
	}
	return results
}

func removeStrays(strays []string) error {
	for _, stray := range strays {
		if err := ignoreMissing(os.Remove(stray)); err != nil {
			return fmt.Errorf("removing stray file: %w", err)
		}
	}
	// Only empty ones go: what still holds something is not ours alone.
	for _, dir := range []string{
		"/run/containerd/s", "/run/containerd/fifo", "/run/containerd",
		"/var/log/containers",
		"/var/lib/cni/results", "/var/lib/cni/cache/results", "/var/lib/cni/cache", "/var/lib/cni",
		"/var/lib/kubelet/device-plugins", "/var/lib/kubelet",
	} {
		_ = os.Remove(dir)
	}
	return nil
}

// logLinks are the kubelet's links to its containers' logs.
func logLinks(l layout) []string {
	links, _ := filepath.Glob("/var/log/containers/*.log")
	return slices.DeleteFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err != nil || !strings.HasPrefix(target, l.state+"/")
	})
}

// devicePluginFiles are the kubelet's, unless another kubelet listens there now.
func devicePluginFiles() []string {
	const dir = "/var/lib/kubelet/device-plugins/"
	if conn, err := net.DialTimeout("unix", dir+"kubelet.sock", time.Second); err == nil {
		_ = conn.Close()
		return nil
	}
	return []string{dir + "kubelet.sock", dir + "kubelet_internal_checkpoint"}
}

var errNotRunning = errors.New("no cluster runs: start one with `make up`")
