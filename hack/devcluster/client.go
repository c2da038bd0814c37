package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// client speaks to the API server from outside its network namespace.
type client struct {
	kubernetes.Interface
}

func newClient(l layout) (client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig("admin"))
	if err != nil {
		return client{}, fmt.Errorf("reading kubeconfig: %w", err)
	}
	config.Dial = dialer(controlPlane.netns())
	config.Timeout = 10 * time.Second
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return client{}, fmt.Errorf("making a client: %w", err)
	}
	return client{set}, nil
}

// ready says whether the API server serves everything that it should.
func (c client) ready(ctx context.Context) error {
	return c.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (c client) hasDefaultServiceAccount(ctx context.Context) error {
	_, err := c.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}

// nodeReady gives the node's own words when it is not Ready.
func (c client) nodeReady(ctx context.Context, n node) error {
	found, err := c.CoreV1().Nodes().Get(ctx, n.name(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range found.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("%s is not ready: %s", n.name(), condition.Message)
	}
	return errors.New(n.name() + " has not reported yet")
}
