// Package harness is what the end-to-end stories and the demo have in common:
// it installs the operator, makes clusters, puts load on them, and measures
// from outside, as a user would, what is served and when.
//
// It runs where the cluster's addresses are reachable (devcluster exec), and
// needs kubectl in its PATH to run programs in pods.
package harness

import (
	"context"
	"fmt"
	"os"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/platform"
)

// Kube is the API server.
type Kube struct {
	client.WithWatch
	clientset kubernetes.Interface // for logs, which client does not know
	context   string               // of the kubeconfig; empty for the current one
}

// Connect takes the kubeconfig that kubectl would take.
func Connect() (*Kube, error) {
	name := os.Getenv(platform.ContextVariable)
	config, err := restConfig(name)
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", config.Host, err)
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", config.Host, err)
	}
	return &Kube{WithWatch: c, clientset: clientset, context: name}, nil
}

func restConfig(contextName string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{CurrentContext: contextName}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	// Polls of a few stories at once must not wait for each other.
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "pgtls-harness"
	return config, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1beta1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// pollEvery is short against what is waited for, and long against what a poll costs.
const pollEvery = 250 * time.Millisecond

// WaitingError says what was waited for and why it was still missing.
type WaitingError struct {
	What    string
	Waited  time.Duration
	Missing string
}

func (e *WaitingError) Error() string {
	return fmt.Sprintf("waiting %s for %s: %s", e.Waited.Round(time.Second), e.What, e.Missing)
}

// Await polls until missing returns "" (there) or limit has passed; what missing returned last is then in the error.
func Await(ctx context.Context, what string, limit time.Duration, missing func(context.Context) string) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reason := "nothing was seen"
	for {
		// What is said when the time is over is about the time, not about the cluster.
		if now := missing(ctx); now == "" {
			return nil
		} else if ctx.Err() == nil {
			reason = now
		}
		select {
		case <-ctx.Done():
			return &WaitingError{What: what, Waited: time.Since(start), Missing: reason}
		case <-time.After(pollEvery):
		}
	}
}
