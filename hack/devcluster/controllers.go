package main

import (
	"context"
	"time"
)

func controllerManagerDaemon(l layout) daemon {
	return daemon{
		name:  "kube-controller-manager",
		netns: controlPlane.netns(),
		argv: []string{
			l.binary("kube-controller-manager"),
			"--kubeconfig=" + l.kubeconfig("kube-controller-manager"),
			"--use-service-account-credentials=true",
			"--service-account-private-key-file=" + l.pki("service-account.key"),
			"--root-ca-file=" + l.pki("ca.crt"),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
			"--flex-volume-plugin-dir=" + l.path("volume-plugins"), // made even when none exists
		},
	}
}

func schedulerDaemon(l layout) daemon {
	return daemon{
		name:  "kube-scheduler",
		netns: controlPlane.netns(),
		argv: []string{
			l.binary("kube-scheduler"),
			"--kubeconfig=" + l.kubeconfig("kube-scheduler"),
			"--authentication-kubeconfig=" + l.kubeconfig("kube-scheduler"),
			"--authorization-kubeconfig=" + l.kubeconfig("kube-scheduler"),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
		},
	}
}

// startControllers starts what makes the API server's objects move. Pods wait
// for the default service account, so its appearance shows that the controllers work.
func startControllers(ctx context.Context, l layout) error {
	if _, err := l.start(schedulerDaemon(l)); err != nil {
		return err
	}
	manager, err := l.start(controllerManagerDaemon(l))
	if err != nil {
		return err
	}
	api, err := newClient(l)
	if err != nil {
		return err
	}
	return manager.await(ctx, time.Minute, api.hasDefaultServiceAccount)
}
