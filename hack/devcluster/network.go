package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"pgtls.dev/pgtls/hack/devcluster/process"
)

const netnsDir = "/run/netns"

func netnsPath(name string) string { return netnsDir + "/" + name }

// inNetns gives the command line that runs argv inside a network namespace.
// Not `ip netns exec`: that mounts a new /sys, which hides the cgroups from the kubelet.
func inNetns(name string, argv ...string) []string {
	return append([]string{"nsenter", "--net=" + netnsPath(name), "--"}, argv...)
}

// within calls do with this thread moved into a network namespace.
func within(name string, do func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening own network namespace: %w", err)
	}
	defer home.Close()
	target, err := os.Open(netnsPath(name))
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening network namespace: %w", err)
	}
	defer target.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering network namespace %s: %w", name, err)
	}
	result := do()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked and so ends with its goroutine: no other may run on it.
		return errors.Join(result, fmt.Errorf("leaving network namespace %s: %w", name, err))
	}
	runtime.UnlockOSThread()
	return result
}

// dialer dials from inside a network namespace. Addresses must be literal: a
// name would be looked up on another thread.
func dialer(netns string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = within(netns, func() error {
			var dialErr error
			conn, dialErr = new(net.Dialer).DialContext(ctx, network, address)
			return dialErr
		})
		return conn, err
	}
}

// setUpNetwork makes the node's namespace: loopback, the pods' bridge and the
// route without which the node itself could not reach a Service.
func setUpNetwork(ctx context.Context, n node) error {
	if err := loadBridgeFilter(ctx); err != nil {
		return err
	}
	if err := runAll(ctx, networkCommands(n)); err != nil {
		return fmt.Errorf("setting up network namespace %s: %w", n.netns(), err)
	}
	return within(n.netns(), func() error {
		for _, name := range []string{"ipv4/ip_forward", "bridge/bridge-nf-call-iptables"} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0o644); err != nil {
				return fmt.Errorf("setting sysctl %s in %s: %w", name, n.netns(), err)
			}
		}
		return nil
	})
}

func networkCommands(n node) [][]string {
	ip := func(args string) []string {
		return append([]string{"ip", "-n", n.netns()}, strings.Fields(args)...)
	}
	commands := [][]string{
		{"ip", "netns", "add", n.netns()},
		ip("link set lo up"),
		// A fixed hardware address, or it would change with the pods that come and go.
		ip(fmt.Sprintf("link add %s address 0a:58:0a:f4:%02x:01 type bridge", bridgeName, n.index)),
		ip("addr add " + n.address() + "/24 dev " + bridgeName),
		ip("link set " + bridgeName + " up"),
		ip("route add " + serviceCIDR + " dev " + bridgeName),
	}
	if n.index == controlPlane.index {
		return commands
	}
	return append(commands, linkCommands(n)...)
}

// linkCommands join a further node with the first one, which routes between all.
func linkCommands(n node) [][]string {
	hub, link := controlPlane.netns(), fmt.Sprintf("to-%s", n.name())
	near, far := fmt.Sprintf("10.245.%d.1", n.index), fmt.Sprintf("10.245.%d.2", n.index)
	split := strings.Fields
	return [][]string{
		split("ip -n " + hub + " link add " + link + " type veth peer name uplink netns " + n.netns()),
		split("ip -n " + hub + " addr add " + near + "/30 dev " + link),
		split("ip -n " + hub + " link set " + link + " up"),
		split("ip -n " + hub + " route add " + n.podCIDR() + " via " + far),
		split("ip -n " + n.netns() + " addr add " + far + "/30 dev uplink"),
		split("ip -n " + n.netns() + " link set uplink up"),
		split("ip -n " + n.netns() + " route add default via " + near + " src " + n.address()),
	}
}

// loadBridgeFilter makes sure that iptables sees what pods on one bridge send
// each other; else a reply that a Service should translate back bypasses it.
func loadBridgeFilter(ctx context.Context) error {
	const proof = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(proof); err == nil {
		return nil
	}
	if _, err := exec.LookPath("modprobe"); err == nil {
		_, _ = process.Run(ctx, "modprobe", "br_netfilter") // the next look tells whether it helped
	}
	if _, err := os.Stat(proof); err != nil {
		return fmt.Errorf("this kernel has no bridge netfilter (%s): load the module br_netfilter", proof)
	}
	return nil
}

func runAll(ctx context.Context, commands [][]string) error {
	for _, argv := range commands {
		if _, err := process.Run(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// removeNetworks deletes the namespaces of this cluster, with all that is in them.
func removeNetworks(ctx context.Context) error {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return nil // no namespace was ever made
	}
	left := 0
	for _, entry := range entries {
		if !isOurNetns(entry.Name()) {
			left++
			continue
		}
		if err := removeNetns(ctx, entry.Name()); err != nil {
			return err
		}
	}
	if left == 0 {
		// `ip netns add` mounts this directory onto itself, and does so again when needed.
		_ = unix.Unmount(netnsDir, unix.MNT_DETACH)
	}
	return nil
}

// removeNetns also removes what a kill between file and mount left behind,
// which `ip netns delete` refuses.
func removeNetns(ctx context.Context, name string) error {
	if _, err := process.Run(ctx, "ip", "netns", "delete", name); err == nil {
		return nil
	}
	_ = unix.Unmount(netnsPath(name), unix.MNT_DETACH)
	if err := os.Remove(netnsPath(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing network namespace: %w", err)
	}
	return nil
}

func isOurNetns(name string) bool {
	return name == controlPlane.netns() || strings.HasPrefix(name, controlPlane.netns()+"-")
}
