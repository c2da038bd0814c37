//go:build e2e

package e2e

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/test/harness"
)

const (
	firstRolloutLimit = 4 * time.Minute
	readyLimit        = 2 * time.Minute
)

// A living cluster, with a client pod beside it.
type living struct {
	*harness.Cluster
	client *harness.ClientPod
}

// cluster begins the description of a cluster that only this story has.
func (s *story) cluster() *harness.Builder { return harness.NewCluster("e2e-"+s.name, "hippo") }

// rolledOut makes the cluster and waits until it is ready; the story's end removes it.
func (s *story) rolledOut(wanted *harness.Builder) *living {
	s.Helper()
	object := wanted.Build()
	cluster := s.created(object)
	s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
	return s.withClient(cluster, object)
}

// withClient starts the client pod of a cluster that is ready, and waits for its replicas.
func (s *story) withClient(cluster *harness.Cluster, object *v1beta1.PostgresCluster) *living {
	s.Helper()
	client, err := cluster.StartClient(s.Context(), images)
	s.must(err)
	s.must(client.AwaitStreaming(s.Context(), int(*object.Spec.Instances[0].Replicas)-1))
	return &living{Cluster: cluster, client: client}
}

// created makes the cluster in a fresh namespace and waits for nothing.
func (s *story) created(object *v1beta1.PostgresCluster) *harness.Cluster {
	s.Helper()
	s.must(kube.RemoveNamespace(s.Context(), object.Namespace))
	s.Cleanup(func() { removeInBackground(s.T, object.Namespace) })
	cluster, err := harness.Create(s.Context(), kube, object)
	s.must(err)
	s.Cleanup(func() { explainFailure(s.T, cluster) })
	return cluster
}

// explainFailure says what the cluster looked like when the story failed.
func explainFailure(t *testing.T, cluster *harness.Cluster) {
	if t.Failed() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		t.Logf("%s/%s when the story failed:\n%s", cluster.Namespace, cluster.Name, cluster.Diagnose(ctx))
	}
}

// removeInBackground lets the next story begin. KEEP leaves a failed story's cluster for a look.
func removeInBackground(t *testing.T, namespace string) {
	if t.Failed() && os.Getenv("KEEP") != "" {
		t.Logf("KEEP is set: namespace %s stays", namespace)
		return
	}
	removals.Go(func() {
		// A namespace that does not go away is said by the next run, which waits for it.
		_ = kube.RemoveNamespace(context.Background(), namespace)
	})
}

const standingNamespace = "e2e-standing"

// standing is a healthy cluster of 3 + 2 that stories share which leave it as they found it.
var standing struct {
	sync.Mutex
	cluster *living
}

func (s *story) standing() *living {
	s.Helper()
	standing.Lock()
	defer standing.Unlock()
	if standing.cluster == nil {
		s.must(kube.RemoveNamespace(s.Context(), standingNamespace))
		object := harness.NewCluster(standingNamespace, "hippo").WithInstances(3).WithPoolers(2).Build()
		begun := time.Now()
		cluster, err := harness.Create(s.Context(), kube, object)
		s.must(err)
		s.Cleanup(func() { explainFailure(s.T, cluster) })
		s.must(cluster.AwaitReady(s.Context(), firstRolloutLimit))
		s.fact("secondsUntilReady", time.Since(begun).Round(100*time.Millisecond).Seconds())
		standing.cluster = s.withClient(cluster, object)
		return standing.cluster
	}
	s.Cleanup(func() { explainFailure(s.T, standing.cluster.Cluster) })
	s.must(standing.cluster.AwaitReady(s.Context(), readyLimit))
	return standing.cluster
}

func removeStanding(ctx context.Context) {
	if standing.cluster != nil && os.Getenv("KEEP") == "" {
		_ = kube.RemoveNamespace(ctx, standingNamespace)
	}
}

// podsOf are the pods that serve.
func (s *story) podsOf(c *living) []corev1.Pod {
	s.Helper()
	instances, err := c.Instances(s.Context())
	s.must(err)
	poolers, err := c.Poolers(s.Context())
	s.must(err)
	return slices.Concat(instances, poolers)
}
