package main

import (
	"context"
	"time"
)

func apiserverDaemon(l layout) daemon {
	return daemon{
		name:  "kube-apiserver",
		netns: controlPlane.netns(),
		argv: []string{
			l.binary("kube-apiserver"),
			"--advertise-address=" + controlPlane.address(),
			"--secure-port=" + apiPort,
			"--etcd-servers=" + etcdURL,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--client-ca-file=" + l.pki("ca.crt"),
			"--tls-cert-file=" + l.pki("apiserver.crt"),
			"--tls-private-key-file=" + l.pki("apiserver.key"),
			"--kubelet-certificate-authority=" + l.pki("ca.crt"),
			"--kubelet-client-certificate=" + l.pki("apiserver-to-kubelet.crt"),
			"--kubelet-client-key=" + l.pki("apiserver-to-kubelet.key"),
			"--kubelet-preferred-address-types=InternalIP", // no server resolves a node's name
			"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
			"--service-account-key-file=" + l.pki("service-account.pub"),
			"--service-account-signing-key-file=" + l.pki("service-account.key"),
			"--service-cluster-ip-range=" + serviceCIDR,
			"--audit-policy-file=" + l.path("config", "audit-policy.yaml"),
			"--audit-log-path=" + l.auditLog(),
			"--audit-log-maxsize=1024", // MB: a story that counts lines must not lose some to a rotation
		},
	}
}

func startAPIServer(ctx context.Context, l layout) error {
	if err := renderTo(l.path("config", "audit-policy.yaml"), "audit-policy.yaml", settingsFor(l, controlPlane)); err != nil {
		return err
	}
	started, err := l.start(apiserverDaemon(l))
	if err != nil {
		return err
	}
	api, err := newClient(l)
	if err != nil {
		return err
	}
	return started.await(ctx, 2*time.Minute, api.ready)
}
