package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const etcdURL = "http://127.0.0.1:2379"

func etcdDaemon(l layout) daemon {
	const peerURL = "http://127.0.0.1:2380"
	return daemon{
		name:  "etcd",
		netns: controlPlane.netns(),
		argv: []string{
			"/usr/bin/etcd",
			"--data-dir=" + l.path("etcd", "data"),
			"--listen-client-urls=" + etcdURL,
			"--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + peerURL,
			"--initial-advertise-peer-urls=" + peerURL,
			"--initial-cluster=default=" + peerURL,
			"--logger=zap", // 3.4 still defaults to the one that it deprecates
			"--log-level=warn",
		},
	}
}

// startEtcd runs etcd on memory: a throwaway cluster shall not wait for a disk.
func startEtcd(ctx context.Context, l layout) error {
	if err := os.MkdirAll(l.path("etcd"), 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", l.path("etcd"), "tmpfs", 0, "mode=0700,size=2g"); err != nil {
		return fmt.Errorf("mounting a tmpfs for etcd: %w", err)
	}
	started, err := l.start(etcdDaemon(l))
	if err != nil {
		return err
	}
	return started.await(ctx, time.Minute, func(ctx context.Context) error {
		return healthy(ctx, controlPlane.netns(), etcdURL+"/health")
	})
}

// healthy asks a plain HTTP health endpoint inside a network namespace.
func healthy(ctx context.Context, netns, url string) error {
	client := http.Client{
		Transport: &http.Transport{DialContext: dialer(netns), DisableKeepAlives: true},
		Timeout:   2 * time.Second,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + response.Status)
	}
	return nil
}
