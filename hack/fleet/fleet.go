package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/hack/beside"
)

const (
	namespace = "default"
	makers    = 16
	// countEvery is short against what is waited for, and a count costs the API server little.
	countEvery = 100 * time.Millisecond
)

// fleet is a number of clusters in one namespace.
type fleet struct {
	client.WithWatch
	size int
}

func newFleet(config *rest.Config, size int) (*fleet, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	return &fleet{c, size}, err
}

func (f *fleet) create(ctx context.Context) error {
	numbers := make(chan int)
	errs := make([]error, makers)
	var group sync.WaitGroup
	for maker := range makers {
		group.Go(func() {
			for i := range numbers {
				if err := f.Create(ctx, cluster(i)); err != nil {
					errs[maker] = fmt.Errorf("making a cluster: %w", err)
				}
			}
		})
	}
	for i := range f.size {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	return errors.Join(errs...)
}

func cluster(i int) *v1beta1.PostgresCluster {
	return &v1beta1.PostgresCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("cluster-%d", i)},
		Spec: v1beta1.PostgresClusterSpec{
			PostgresVersion: 17,
			Instances: []v1beta1.InstanceSetSpec{{Name: "a", Replicas: ptr.To[int32](2), DataVolumeClaimSpec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			}}},
			Proxy: &v1beta1.ProxySpec{PGBouncer: &v1beta1.PGBouncerSpec{Replicas: ptr.To[int32](2)}},
		},
	}
}

// awaitSettled watches until every cluster has what it can have without a pod. One watch costs the API server little beside what is
// measured.
func (f *fleet) awaitSettled(ctx context.Context) error {
	watch, err := f.Watch(ctx, &v1beta1.PostgresClusterList{}, client.InNamespace(namespace))
	if err != nil {
		return fmt.Errorf("watching the clusters: %w", err)
	}
	defer watch.Stop()
	done := map[string]bool{}
	last := "nothing was seen"
	for len(done) < f.size {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d clusters have settled, and of another one: %s: %w", len(done), last, ctx.Err())
		case e, open := <-watch.ResultChan():
			if !open {
				return errors.New("the watch of the clusters has ended")
			}
			if c, is := e.Object.(*v1beta1.PostgresCluster); is {
				missing := unsettled(c)
				if missing == "" {
					done[c.Name] = true
				} else {
					delete(done, c.Name)
					last = missing
				}
			}
		}
	}
	return f.awaitWorkloads(ctx)
}

// awaitWorkloads waits until every cluster has its StatefulSets and its Deployment. A list of one item says how many more there are.
func (f *fleet) awaitWorkloads(ctx context.Context) error {
	for _, wanted := range []struct {
		list client.ObjectList
		of   int // of each cluster
	}{{&appsv1.StatefulSetList{}, 2}, {&appsv1.DeploymentList{}, 1}} {
		for {
			if err := f.List(ctx, wanted.list, client.InNamespace(namespace), client.Limit(1)); err != nil {
				return fmt.Errorf("counting %T: %w", wanted.list, err)
			}
			there := meta.LenList(wanted.list)
			if more := wanted.list.GetRemainingItemCount(); more != nil {
				there += int(*more)
			}
			if there >= wanted.of*f.size {
				break
			}
			if err := beside.Pause(ctx, countEvery); err != nil {
				return fmt.Errorf("%d of %d in %T: %w", there, wanted.of*f.size, wanted.list, err)
			}
		}
	}
	return nil
}

// unsettled says what a cluster lacks, "" when it waits for pods alone.
func unsettled(c *v1beta1.PostgresCluster) string {
	tls := meta.FindStatusCondition(c.Status.Conditions, "TLSReady")
	ready := meta.FindStatusCondition(c.Status.Conditions, "Ready")
	switch {
	case tls == nil || ready == nil:
		return c.Name + " has no conditions"
	case tls.Reason != "NoEndpoint":
		return fmt.Sprintf("%s: TLSReady is %s: %s: %s", c.Name, tls.Status, tls.Reason, tls.Message)
	}
	return ""
}
