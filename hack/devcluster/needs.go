package main

import (
	"context"
	"io"
	"strings"

	"pgtls.dev/pgtls/hack/apt"
)

// needs are what the cluster runs on, and what loads its images.
var needs = []apt.Need{
	{File: "buildah", Package: "buildah"},
	{File: "conntrack", Package: "conntrack"},
	{File: "containerd", Package: "containerd"},
	{File: "/usr/lib/cni/bridge", Package: "containernetworking-plugins"},
	{File: "etcd", Package: "etcd-server"},
	{File: "ip", Package: "iproute2"},
	{File: "iptables", Package: "iptables"},
	{File: "runc", Package: "runc"},
}

// installPackages installs what is missing, and touches nothing when nothing is.
func installPackages(ctx context.Context, p *progress) error {
	missing := apt.Missing(needs)
	if len(missing) == 0 {
		p.say("programs: present")
		return nil
	}
	return p.longStep("debian packages "+strings.Join(missing, " "), func() error { return apt.Install(ctx, io.Discard, missing) })
}
