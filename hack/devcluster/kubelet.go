package main

import (
	"context"
	"time"
)

func kubeletDaemon(l layout, n node) daemon {
	return daemon{
		name:  n.daemon("kubelet"),
		netns: n.netns(),
		argv: []string{
			l.binary("kubelet"),
			"--config=" + l.node(n, "kubelet.yaml"),
			"--kubeconfig=" + l.kubeconfig(n.daemon("kubelet")),
			"--hostname-override=" + n.name(),
			"--node-ip=" + n.address(),
			"--root-dir=" + l.node(n, "kubelet"),
			"--cert-dir=" + l.node(n, "kubelet-certs"),
		},
	}
}

func startKubelet(ctx context.Context, l layout, n node) error {
	s := settingsFor(l, n)
	if err := renderTo(l.node(n, "kubelet.yaml"), "kubelet.yaml", s); err != nil {
		return err
	}
	if err := renderTo(l.node(n, "resolv.conf"), "resolv.conf", s); err != nil {
		return err
	}
	if err := makeCgroups(n); err != nil {
		return err
	}
	started, err := l.start(kubeletDaemon(l, n))
	if err != nil {
		return err
	}
	api, err := newClient(l)
	if err != nil {
		return err
	}
	return started.await(ctx, 2*time.Minute, func(ctx context.Context) error { return api.nodeReady(ctx, n) })
}
