package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	namespace    = "default"
	clusterCount = 3
	makers       = 16
	watchLimit   = time.Minute
)

// world is what the operator looks at.
type world struct{ client.Client }

func newWorld(config *rest.Config) (world, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		return world{}, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	return world{c}, err
}

func clusterName(i int) string { return fmt.Sprintf("cluster-%d", i) }

// makeClusters makes clusters that name a Secret each, so that the operator has something to watch Secrets for.
func (w world) makeClusters(ctx context.Context) error {
	for i := range clusterCount {
		cluster := &v1beta1.PostgresCluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: clusterName(i)},
			Spec: v1beta1.PostgresClusterSpec{
				PostgresVersion: 17,
				Instances:       []v1beta1.InstanceSetSpec{instanceSet()},
				CustomTLSSecret: projection(fmt.Sprintf("custom-%d", i)),
			},
		}
		if err := w.Create(ctx, cluster); err != nil {
			return fmt.Errorf("making a cluster: %w", err)
		}
	}
	return nil
}

func instanceSet() v1beta1.InstanceSetSpec {
	return v1beta1.InstanceSetSpec{Name: "a", Replicas: ptr.To[int32](2), DataVolumeClaimSpec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
}

func projection(name string) *corev1.SecretProjection {
	return &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
}

// makeSecrets makes Secrets that no cluster names, of which half have what Helm and others write on theirs.
func (w world) makeSecrets(ctx context.Context) error {
	numbers := make(chan int)
	errs := make([]error, makers)
	var group sync.WaitGroup
	for maker := range makers {
		group.Go(func() {
			for i := range numbers {
				errs[maker] = errors.Join(errs[maker], w.makeSecret(ctx, i))
			}
		})
	}
	for i := range secretCount {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	return errors.Join(errs...)
}

func (w world) makeSecret(ctx context.Context, i int) error {
	content := make([]byte, secretBytes)
	_, _ = rand.Read(content) // never fails
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("unreferenced-%d", i)},
		Data:       map[string][]byte{"content": content},
	}
	if i%2 == 0 {
		secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "another-program", "app.kubernetes.io/instance": secret.Name}
		secret.Annotations = map[string]string{"example.org/description": "what a person or a program wrote about this Secret"}
	}
	if err := w.Create(ctx, secret); err != nil {
		return fmt.Errorf("making Secret %s: %w", secret.Name, err)
	}
	return nil
}

// waitForWatch makes a Secret that a cluster names and waits until the operator says something about it. A watch brings
// events in order, so it has passed everything that was made before.
func (w world) waitForWatch(ctx context.Context, mark string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "custom-0"}}
	if err := client.IgnoreNotFound(w.Delete(ctx, secret)); err != nil {
		return fmt.Errorf("deleting Secret %s: %w", secret.Name, err)
	}
	if err := w.waitForReason(ctx, "SourceMissing"); err != nil {
		return err
	}
	secret.StringData = map[string]string{"tls.crt": mark}
	if err := w.Create(ctx, secret); err != nil {
		return fmt.Errorf("making Secret %s: %w", secret.Name, err)
	}
	return w.waitForReason(ctx, "NotPEM", "NoCertificate")
}

// waitForReason looks at the condition about the first cluster's Secret.
func (w world) waitForReason(ctx context.Context, reasons ...string) error {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	for {
		cluster := &v1beta1.PostgresCluster{}
		if err := w.Get(ctx, client.ObjectKey{Namespace: namespace, Name: clusterName(0)}, cluster); err != nil {
			return fmt.Errorf("waiting for the operator to say %v: %w", reasons, err)
		}
		if slices.ContainsFunc(cluster.Status.Conditions, func(c metav1.Condition) bool {
			return c.Type == "CustomCertificateServer" && slices.Contains(reasons, c.Reason)
		}) {
			return nil
		}
		if err := beside.Pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for the operator to say %v: it says %v: %w", reasons, cluster.Status.Conditions, err)
		}
	}
}
