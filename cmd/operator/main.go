// The operator makes PostgresClusters and keeps their certificates.
package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster"
	"pgtls.dev/pgtls/internal/controller/tls"
	"pgtls.dev/pgtls/internal/metrics"
)

// What keeps the operator small: it is idle most of its life. The heap is at most twice as large as what is in use. The limit is where
// memory is collected more eagerly still; it lies above what 1,000 clusters have in use, or the collector would never rest.
const (
	memoryLimit = 180 << 20
	gcPercent   = 100
)

// clustersAtOnce is how many clusters' certificates are worked on side by side.
const clustersAtOnce = 4

func main() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(gcPercent)
	if err := command().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	options := fromEnvironment(os.Getenv)
	command := &cobra.Command{
		Use:           "operator",
		Short:         "Makes PostgresClusters whose certificates never cause an outage",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return run(c, options) },
	}
	options.bind(command.Flags())
	return command
}

func run(c *cobra.Command, options *options) error {
	level := slog.LevelInfo
	if options.verbose {
		level = slog.LevelDebug
	}
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	m, err := newManager(config, options)
	if err != nil {
		return err
	}
	if err := addControllers(c.Context(), m, options, time.Now); err != nil {
		return err
	}
	if err := showMetrics(m); err != nil {
		return err
	}
	if err := m.Start(c.Context()); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

// showMetrics adds the state of the clusters to what controller-runtime shows.
func showMetrics(m ctrl.Manager) error {
	reader := m.GetClient()
	err := ctrlmetrics.Registry.Register(metrics.New(func(ctx context.Context) ([]v1beta1.PostgresCluster, error) {
		var clusters v1beta1.PostgresClusterList
		err := reader.List(ctx, &clusters)
		return clusters.Items, err
	}))
	if err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	return nil
}

// addControllers adds both, which share nothing but the API server. ctx ends the TLS controller's connections.
func addControllers(ctx context.Context, m ctrl.Manager, options *options, now func() time.Time) error {
	if err := indexByCluster(ctx, m); err != nil {
		return err
	}
	if err := cluster.SetupWithManager(m, cluster.Options{Settings: options.settings(), Now: now}); err != nil {
		return err
	}
	return tls.SetupWithManager(ctx, m, tls.Options{
		ClusterDomain: options.clusterDomain, Now: now, Concurrency: clustersAtOnce, Namespaces: options.namespaces,
		SystemRoots: sync.OnceValue(func() []*x509.Certificate { return systemRoots(options.systemRoots) }),
	})
}
