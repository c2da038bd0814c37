package main

import (
	"context"
	"time"
)

func coreDNSDaemon(l layout) daemon {
	return daemon{
		name:  "coredns",
		netns: controlPlane.netns(),
		argv:  []string{l.binary("coredns"), "-conf", l.path("config", "Corefile")},
	}
}

// startCoreDNS serves the cluster's names on the first node's bridge address.
func startCoreDNS(ctx context.Context, l layout) error {
	if err := renderTo(l.path("config", "Corefile"), "Corefile", settingsFor(l, controlPlane)); err != nil {
		return err
	}
	started, err := l.start(coreDNSDaemon(l))
	if err != nil {
		return err
	}
	return started.await(ctx, time.Minute, func(ctx context.Context) error {
		return healthy(ctx, controlPlane.netns(), "http://127.0.0.1:8181/ready")
	})
}
