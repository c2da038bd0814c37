package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// Requests to the API server, per second and at once. A new cluster takes 32: with 100 a second a fleet of 1,000 would need six minutes
// for its requests alone, and an urgent renewal would wait behind it. The API server protects itself: its priority and fairness gives
// every client a share, and queues the rest.
const (
	requestsPerSecond = 400
	requestsAtOnce    = 800
)

// newManager has no leader election: a Lease is a write every two seconds, and at rest the operator writes nothing.
func newManager(config *rest.Config, o *options) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cached, err := cacheOptions(o.namespaces)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = requestsPerSecond, requestsAtOnce
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  cached,
		Metrics:                metricsserver.Options{BindAddress: o.metrics},
		HealthProbeBindAddress: o.health,
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding the health check: %w", err)
	}
	if err := m.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding the readiness check: %w", err)
	}
	return m, nil
}

// indexByCluster indexes what the controllers list.
func indexByCluster(ctx context.Context, m ctrl.Manager) error {
	err := kube.IndexByCluster(ctx, m.GetFieldIndexer(), desired.ClusterLabel, &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Pod{},
		&corev1.Service{}, &corev1.PersistentVolumeClaim{}, &appsv1.StatefulSet{}, &appsv1.Deployment{})
	if err != nil {
		return fmt.Errorf("setting up the cache: %w", err)
	}
	return nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering kinds: %w", err)
		}
	}
	return scheme, nil
}

// cacheOptions keep only the objects of clusters in memory, and of these what is needed.
func cacheOptions(namespaces []string) (cache.Options, error) {
	ours, err := labels.NewRequirement(desired.ClusterLabel, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, fmt.Errorf("selecting by label: %w", err)
	}
	options := cache.Options{
		DefaultLabelSelector: labels.NewSelector().Add(*ours),
		DefaultTransform:     kube.Lean(),
		ByObject:             map[client.Object]cache.ByObject{&v1beta1.PostgresCluster{}: {Label: labels.Everything()}},
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options, nil
}
