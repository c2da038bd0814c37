package main

import (
	"context"
	"time"
)

func kubeProxyDaemon(l layout, n node) daemon {
	return daemon{
		name:  n.daemon("kube-proxy"),
		netns: n.netns(),
		argv:  []string{l.binary("kube-proxy"), "--config=" + l.node(n, "kube-proxy.yaml")},
	}
}

func startKubeProxy(ctx context.Context, l layout, n node) error {
	if err := renderTo(l.node(n, "kube-proxy.yaml"), "kube-proxy.yaml", settingsFor(l, n)); err != nil {
		return err
	}
	started, err := l.start(kubeProxyDaemon(l, n))
	if err != nil {
		return err
	}
	return started.await(ctx, time.Minute, func(ctx context.Context) error {
		return healthy(ctx, n.netns(), "http://127.0.0.1:10256/healthz")
	})
}
