package provisioner

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func pendingClaim() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "data", UID: "1234",
			Annotations: map[string]string{askedProvisioner: Name},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

func TestOnlyOwnUnboundLivingClaimsAreProvisioned(t *testing.T) {
	if !mustProvision(pendingClaim()) {
		t.Error("a pending claim is left alone")
	}
	for name, change := range map[string]func(*corev1.PersistentVolumeClaim){
		"bound":                  func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pvc-1" },
		"of another provisioner": func(c *corev1.PersistentVolumeClaim) { c.Annotations[askedProvisioner] = "other" },
		"deleted":                func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} },
	} {
		claim := pendingClaim()
		change(claim)
		if mustProvision(claim) {
			t.Errorf("a claim that is %s is provisioned", name)
		}
	}
}

func TestOnlyOwnReleasedVolumesAreDeleted(t *testing.T) {
	released := func() *corev1.PersistentVolume {
		volume := volumeFor(pendingClaim(), "/volumes")
		volume.Status.Phase = corev1.VolumeReleased
		return volume
	}
	if !mustDelete(released()) {
		t.Error("a released volume is kept")
	}
	for name, change := range map[string]func(*corev1.PersistentVolume){
		"bound": func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound },
		"to be retained": func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		},
		"of another provisioner": func(v *corev1.PersistentVolume) { v.Annotations[provisionedBy] = "other" },
		"going already":          func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{} },
	} {
		volume := released()
		change(volume)
		if mustDelete(volume) {
			t.Errorf("a volume that is %s is deleted", name)
		}
	}
}

func TestVolumeIsWritableByAnyoneBelongsToItsClaimAndGoesWithItsDirectory(t *testing.T) {
	api, root := fake.NewClientset(), t.TempDir()
	p := &provisioner{api: api, root: root}
	for range 2 { // the second time as after a crash
		if err := p.create(t.Context(), pendingClaim()); err != nil {
			t.Fatal(err)
		}
	}
	volume, err := api.CoreV1().PersistentVolumes().Get(t.Context(), "pvc-1234", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ref := volume.Spec.ClaimRef; ref.Namespace != "ns" || ref.Name != "data" || ref.UID != "1234" {
		t.Errorf("the volume is for %+v", ref)
	}
	dir := filepath.Join(root, "pvc-1234")
	if volume.Spec.HostPath.Path != dir {
		t.Errorf("the volume is at %s, want %s", volume.Spec.HostPath.Path, dir)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := p.delete(t.Context(), volume); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory stays: %v", err)
	}
	if _, err := api.CoreV1().PersistentVolumes().Get(t.Context(), "pvc-1234", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the volume stays: %v", err)
	}
}
