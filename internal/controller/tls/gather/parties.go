package gather

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/controller/tls/wanted"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/party"
	"pgtls.dev/pgtls/internal/rotation/facts"
)

// gatherUnwanted finds the material of parties that are gone. What still has a StatefulSet, a Deployment or a
// pod is on its way out and needs it.
func gatherUnwanted(ctx context.Context, v *look) error {
	for i := range v.secrets {
		secret := &v.secrets[i]
		holder, isMaterial := strings.CutSuffix(secret.Name, desired.MaterialSecret(""))
		if !isMaterial || secret.Labels[material.DomainLabel] != "" || v.Party(secret.Name) != nil || !v.belongs(secretKind, secret) {
			continue
		}
		isMaterial = !v.held[secret.Name] && secret.DeletionTimestamp.IsZero()
		key := client.ObjectKey{Namespace: v.Cluster.Namespace, Name: holder}
		for _, object := range []client.Object{&appsv1.StatefulSet{}, &appsv1.Deployment{}} {
			reader := v.Cached
			if v.source == PastCache {
				reader = v.Live
			}
			err := reader.Get(ctx, key, object)
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("looking for users of Secret %s: %w", secret.Name, err)
			}
			isMaterial = isMaterial && apierrors.IsNotFound(err)
		}
		if !isMaterial {
			v.Observed.Leftovers = append(v.Observed.Leftovers, material.Leftovers(secret)...)
		} else {
			v.Observed.Unwanted = append(v.Observed.Unwanted, secret.Name)
			v.Material[secret.Name] = secret
		}
	}
	return nil
}

// gatherParties reads the material of the parties that the spec wants.
func gatherParties(ctx context.Context, v *look) error {
	var services corev1.ServiceList
	if err := v.Cached.List(ctx, &services, client.InNamespace(v.Cluster.Namespace),
		client.MatchingFields{kube.ClusterIndex: v.Cluster.Name}); err != nil {
		return fmt.Errorf("listing the Services of %s: %w", v.Cluster.Name, err)
	}
	for _, p := range wanted.Parties(v.Cluster, v.ClusterDomain, services.Items) {
		secret, _, err := findSecret(ctx, v, p.Name)
		switch {
		case err != nil:
			return err
		case secret == nil && v.awaitsServices(ctx, p.Kind, services.Items):
			continue // its addresses are not known yet: a leaf of now would lack names in a moment
		case secret == nil:
			p.Material.State = facts.Missing
		case !v.belongs(secretKind, secret):
			p.Material.State = facts.Foreign
		default:
			v.Material[p.Name] = secret
			p.Material = v.Verdicts.Inspect(client.ObjectKeyFromObject(v.Cluster), &p, secret, v.Observed.Now)
		}
		v.Observed.Parties = append(v.Observed.Parties, p)
	}
	if !slices.ContainsFunc(v.Observed.Parties, func(p facts.Party) bool { return !servicesExist(v.Cluster.Name, p.Kind, services.Items) }) && v.ServicesUntil.IsZero() {
		v.services.forget(client.ObjectKeyFromObject(v.Cluster))
	}
	return nil
}

// servicesPatience is how long a new party waits for the addresses of its Services. Where a Service cannot be made at all, because no
// address is free, PostgreSQL is to start all the same: its certificate is issued anew once the Service is there. It begins once the cluster
// controller has come to this cluster: among 1,000 new ones that takes minutes, and each leaf would be issued twice.
const servicesPatience = 10 * time.Second

// awaitsServices reports whether a party without material waits for its Services, and notes until when.
func (v *look) awaitsServices(ctx context.Context, kind *party.Kind, services []corev1.Service) bool {
	if servicesExist(v.Cluster.Name, kind, services) {
		return false
	}
	if !v.areServicesDue(ctx) {
		v.ServicesUntil = v.Observed.Now.Add(3 * servicesPatience) // then it is looked again
		return true
	}
	until := v.services.since(client.ObjectKeyFromObject(v.Cluster), v.Observed.Now).Add(servicesPatience)
	if !v.Observed.Now.Before(until) {
		return false
	}
	v.ServicesUntil = until
	return true
}

// areServicesDue reports whether the cluster controller is known to have come as far as the Services: it writes the configuration of the
// instances right before. That is no gate: without it no instance starts.
func (v *look) areServicesDue(ctx context.Context) bool {
	key := client.ObjectKey{Namespace: v.Cluster.Namespace, Name: desired.ConfigName(v.Cluster.Name)}
	return v.Cached.Get(ctx, key, &corev1.ConfigMap{}) == nil
}

// lacking remembers since when Services of clusters lack. After a restart of the operator it begins anew, which costs a new party
// some seconds.
type lacking struct {
	mu    sync.Mutex
	first map[types.NamespacedName]time.Time
}

func (l *lacking) since(cluster types.NamespacedName, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, known := l.first[cluster]; known {
		return at
	}
	if l.first == nil {
		l.first = map[types.NamespacedName]time.Time{}
	}
	l.first[cluster] = now
	return now
}

func (l *lacking) forget(cluster types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.first, cluster)
}

// servicesExist reports whether the Services that lead to a party are there, with their addresses.
func servicesExist(cluster string, kind *party.Kind, services []corev1.Service) bool {
	var names []string
	for i := range kind.Leaves {
		for _, service := range kind.Leaves[i].Names.Services {
			names = append(names, desired.ServiceName(cluster, service))
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(services, func(s corev1.Service) bool { return s.Name == name }) {
			return false
		}
	}
	return true
}
