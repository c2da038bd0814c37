package main

import (
	"context"
	"net"
	"time"

	"pgtls.dev/pgtls/hack/devcluster/process"
)

func containerdDaemon(l layout, n node) daemon {
	return daemon{
		name:  n.daemon("containerd"),
		netns: n.netns(),
		argv:  []string{"/usr/bin/containerd", "--config", l.node(n, "containerd.toml")},
	}
}

// startContainerd also imports the pause image, which every pod needs first.
func startContainerd(ctx context.Context, l layout, n node) error {
	s := settingsFor(l, n)
	if err := renderTo(l.node(n, "containerd.toml"), "containerd.toml", s); err != nil {
		return err
	}
	if err := renderTo(l.node(n, "cni", "10-bridge.conflist"), "cni.conflist", s); err != nil {
		return err
	}
	started, err := l.start(containerdDaemon(l, n))
	if err != nil {
		return err
	}
	if err := started.await(ctx, time.Minute, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", l.containerdSocket(n))
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		return err
	}
	return importArchive(ctx, l, n, l.binary(pauseArchive))
}

// ctr gives the command line of containerd's client for the kubelet's images.
func ctr(l layout, n node, args ...string) []string {
	return append([]string{"ctr", "--address", l.containerdSocket(n), "--namespace", "k8s.io"}, args...)
}

func importArchive(ctx context.Context, l layout, n node, archive string) error {
	_, err := process.Run(ctx, ctr(l, n, "images", "import", archive)...)
	return err
}
