package main

import (
	"fmt"
	"path/filepath"
)

// The cluster's addresses are fixed: its network namespace has no way out, so
// they can collide with nothing.
const (
	clusterDomain = "cluster.local"
	serviceCIDR   = "10.96.0.0/16"
	apiServiceIP  = "10.96.0.1"
	podsCIDR      = "10.244.0.0/16"
	apiPort       = "6443"
	bridgeName    = "cni0"

	// defaultState is the one directory that holds everything a running cluster writes.
	defaultState = "/var/lib/pgtls-devcluster"

	// cgroupRoot is the parent of every pod's cgroup, apart from what another
	// kubelet on this machine may own.
	cgroupRoot = "/pgtls-devcluster"
)

// layout says where a cluster keeps its files.
type layout struct {
	state string // absolute
}

func (l layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.state}, parts...)...)
}

func (l layout) pki(name string) string        { return l.path("pki", name) }
func (l layout) log(daemon string) string      { return l.path("logs", daemon+".log") }
func (l layout) pidFile(daemon string) string  { return l.path("pids", daemon) }
func (l layout) binary(name string) string     { return l.path("bin", name) }
func (l layout) kubeconfig(user string) string { return l.path("kubeconfig", user) }
func (l layout) auditLog() string              { return l.path("audit.log") }
func (l layout) volumes() string               { return l.path("volumes") }

// node is one kubelet with its containerd in a network namespace of its own.
// Node 1's namespace also holds the control plane.
type node struct {
	index int // from 1
}

func (n node) name() string { return fmt.Sprintf("node-%d", n.index) }

func (n node) netns() string {
	if n.index == 1 {
		return "pgtls"
	}
	return fmt.Sprintf("pgtls-%d", n.index)
}

func (n node) podCIDR() string { return fmt.Sprintf("10.244.%d.0/24", n.index) }

// address is the node's own address and its pods' gateway, on the bridge.
func (n node) address() string { return fmt.Sprintf("10.244.%d.1", n.index) }

func (n node) cgroup() string { return cgroupRoot + "/" + n.name() }

// daemon names one of this node's processes, as its pid file and log are called.
func (n node) daemon(name string) string { return name + "-" + n.name() }

func (l layout) node(n node, parts ...string) string {
	return l.path(append([]string{"nodes", n.name()}, parts...)...)
}

func (l layout) containerdSocket(n node) string { return l.node(n, "containerd.sock") }

// controlPlane is the node whose namespace holds API server and DNS.
var controlPlane = node{index: 1}

func apiURL() string { return "https://" + controlPlane.address() + ":" + apiPort }
