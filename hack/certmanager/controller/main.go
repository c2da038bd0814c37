// Command controller is cert-manager's controller with the parts alone that
// issue from a CA or SelfSigned issuer. Its own command is a module that no
// module proxy serves, because it is tied to the rest by a replace directive.
//
// It elects no leader, listens nowhere, and sees every namespace.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	requestsca "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	requestsselfsigned "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	"github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/spf13/pflag"

	// They make themselves known to the issuers' controllers.
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

var wanted = []string{
	issuers.ControllerName,
	clusterissuers.ControllerName,
	approver.ControllerName,
	requestsca.CRControllerName,
	requestsselfsigned.CRControllerName,
	trigger.ControllerName,
	keymanager.ControllerName,
	requestmanager.ControllerName,
	issuing.ControllerName,
	readiness.ControllerName,
	revisionmanager.ControllerName,
}

// What cert-manager's own command does unless told otherwise.
const (
	workers               = 5 // of each controller
	defaultMinimumBackoff = time.Hour
	defaultMaximumBackoff = 32 * time.Hour
)

func main() {
	options := optionsFromFlags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logs.InitLogs()
	defer logs.FlushLogs()
	if err := run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		logs.FlushLogs()
		os.Exit(1)
	}
}

// optionsFromFlags has flags with the names that cert-manager's own command gives them.
func optionsFromFlags() controller.ContextOptions {
	// What a client may ask for where the API server does not limit it itself.
	options := controller.ContextOptions{KubernetesAPIQPS: 20, KubernetesAPIBurst: 50}
	pflag.StringVar(&options.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	pflag.StringVar(&options.ClusterResourceNamespace, "cluster-resource-namespace", "kube-system", "where the Secrets of ClusterIssuers are")
	pflag.DurationVar(&options.CertificateRequestMinimumBackoffDuration, "certificate-request-minimum-backoff-duration", defaultMinimumBackoff, "how long a failed request waits until the next one")
	pflag.DurationVar(&options.CertificateRequestMaximumBackoffDuration, "certificate-request-maximum-backoff-duration", defaultMaximumBackoff, "the most that it waits after many failures")
	pflag.Parse()
	return options
}

func run(ctx context.Context, options controller.ContextOptions) error {
	factory, err := controller.NewContextFactory(ctx, options)
	if err != nil {
		return fmt.Errorf("connecting with the API server: %w", err)
	}
	controllers, err := build(factory)
	if err != nil {
		return err
	}
	// Only now is every informer known that has to start.
	shared, err := factory.Build()
	if err != nil {
		return fmt.Errorf("building the informers: %w", err)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	return runAll(ctx, controllers)
}

func build(factory *controller.ContextFactory) ([]controller.Interface, error) {
	var built []controller.Interface
	for name, constructor := range controller.Known() {
		if !slices.Contains(wanted, name) {
			continue
		}
		c, err := constructor(factory)
		if err != nil {
			return nil, fmt.Errorf("building controller %s: %w", name, err)
		}
		built = append(built, c)
	}
	if len(built) != len(wanted) {
		return nil, fmt.Errorf("only %d of these controllers exist: %v", len(built), wanted)
	}
	return built, nil
}

// runAll returns when ctx is over, or the first controller fails: half of them issue nothing, and would only seem to run.
func runAll(ctx context.Context, controllers []controller.Interface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(controllers))
	for _, c := range controllers {
		go func() { ended <- c.Run(workers, ctx) }()
	}
	for range controllers {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}
