// Package provisioner makes and removes the volumes of the throwaway cluster's one storage class: a directory for each claim.
package provisioner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

const (
	// Name is the user, the controller and the finder of its volumes.
	Name = "devcluster-provisioner"
	// StorageClass whose claims it serves.
	StorageClass = "standard"

	askedProvisioner = "volume.kubernetes.io/storage-provisioner" // on a claim, by the controller manager
	provisionedBy    = "pv.kubernetes.io/provisioned-by"          // on a volume, by its provisioner
)

// provisioner gives each claim of the storage class a directory of its own, and
// deletes directory and volume once the claim has gone.
type provisioner struct {
	api     kubernetes.Interface
	root    string // directory of the volumes' directories
	claims  listers.PersistentVolumeClaimLister
	volumes listers.PersistentVolumeLister
	queue   workqueue.TypedRateLimitingInterface[item]
}

// item is a claim (with namespace) or a volume (without).
type item struct{ namespace, name string }

// Run serves claims with directories below root until ctx ends.
func Run(ctx context.Context, kubeconfig, root string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading kubeconfig: %w", err)
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(api, 0)
	p := &provisioner{
		api:     api,
		root:    root,
		claims:  factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes: factory.Core().V1().PersistentVolumes().Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[item](50*time.Millisecond, 5*time.Second)),
	}
	for _, informer := range []clientcache.SharedIndexInformer{
		factory.Core().V1().PersistentVolumeClaims().Informer(),
		factory.Core().V1().PersistentVolumes().Informer(),
	} {
		if _, err := informer.AddEventHandler(p.handler()); err != nil {
			return fmt.Errorf("watching claims and volumes: %w", err)
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	context.AfterFunc(ctx, p.queue.ShutDown)
	for p.next(ctx) {
	}
	return nil
}

func (p *provisioner) handler() clientcache.ResourceEventHandlerFuncs {
	enqueue := func(object any) {
		if meta, ok := object.(metav1.Object); ok {
			p.queue.Add(item{meta.GetNamespace(), meta.GetName()})
		}
	}
	return clientcache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
	}
}

// next handles one item, and says false at the end.
func (p *provisioner) next(ctx context.Context) bool {
	it, shutdown := p.queue.Get()
	if shutdown {
		return false
	}
	defer p.queue.Done(it)
	if err := p.handle(ctx, it); err != nil {
		fmt.Fprintf(os.Stderr, "%s/%s: %v\n", it.namespace, it.name, err)
		p.queue.AddRateLimited(it)
		return true
	}
	p.queue.Forget(it)
	return true
}

func (p *provisioner) handle(ctx context.Context, it item) error {
	if it.namespace == "" {
		volume, err := p.volumes.Get(it.name)
		if err != nil || !mustDelete(volume) {
			return ignoreNotFound(err)
		}
		return p.delete(ctx, volume)
	}
	claim, err := p.claims.PersistentVolumeClaims(it.namespace).Get(it.name)
	if err != nil || !mustProvision(claim) {
		return ignoreNotFound(err)
	}
	return p.create(ctx, claim)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func mustProvision(claim *corev1.PersistentVolumeClaim) bool {
	return claim.DeletionTimestamp == nil &&
		claim.Spec.VolumeName == "" &&
		claim.Annotations[askedProvisioner] == Name
}

func mustDelete(volume *corev1.PersistentVolume) bool {
	return volume.DeletionTimestamp == nil &&
		volume.Status.Phase == corev1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		volume.Annotations[provisionedBy] == Name
}

func (p *provisioner) create(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	volume := volumeFor(claim, p.root)
	if err := os.MkdirAll(volume.Spec.HostPath.Path, 0o755); err != nil {
		return err
	}
	// hostPath knows no fsGroup: a pod that is not root must be able to write.
	if err := os.Chmod(volume.Spec.HostPath.Path, 0o777); err != nil {
		return err
	}
	_, err := p.api.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating volume: %w", err)
	}
	return nil
}

func (p *provisioner) delete(ctx context.Context, volume *corev1.PersistentVolume) error {
	if err := os.RemoveAll(filepath.Join(p.root, volume.Name)); err != nil {
		return err
	}
	err := p.api.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting volume: %w", err)
	}
	return nil
}

// volumeFor gives the volume of a claim. Its name is the claim's UID's, so that
// a second attempt makes the same one.
func volumeFor(claim *corev1.PersistentVolumeClaim, root string) *corev1.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	kind := corev1.HostPathDirectory
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{provisionedBy: Name},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              StorageClass,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(root, name), Type: &kind},
			},
		},
	}
}
