package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgtls.dev/pgtls/hack/devcluster/provisioner"
)

func storageClass() *storagev1.StorageClass {
	reclaim, binding := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:        provisioner.StorageClass,
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner:       provisioner.Name,
		ReclaimPolicy:     &reclaim,
		VolumeBindingMode: &binding, // every node sees every directory
	}
}

// startStorage makes the default storage class and starts its provisioner, which
// is this very program under another command.
func startStorage(ctx context.Context, l layout) error {
	api, err := newClient(l)
	if err != nil {
		return err
	}
	_, err = api.StorageV1().StorageClasses().Create(ctx, storageClass(), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating storage class: %w", err)
	}
	// A copy: `go run` deletes the original when the command ends, and status shows this path.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("reading this program: %w", err)
	}
	if err := writeFile(l.path("provisioner"), self, 0o755); err != nil {
		return err
	}
	_, err = l.start(provisionerDaemon(l))
	return err
}

func provisionerDaemon(l layout) daemon {
	return daemon{
		name:  "provisioner",
		netns: controlPlane.netns(),
		argv:  []string{l.path("provisioner"), "provision", l.kubeconfig("provisioner"), l.volumes()},
	}
}
