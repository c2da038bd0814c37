package act

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"pgtls.dev/pgtls/internal/controller/tls/material"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
	"pgtls.dev/pgtls/internal/pki"
)

// secret is a Secret of this controller, with everything but its meaning.
func secret(v *round, name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: desired.Meta(v.Cluster, name, desired.ComponentLabels(v.Cluster.Name, desired.TLSComponent), v.Cluster.Spec.Metadata),
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

// store writes the data of a material Secret as a whole: data that another client added
// must go, or the revision would differ from the one that the pods are
// asked for. It replaces exactly the Secret that was observed, or creates it.
func store(ctx context.Context, v *round, secret *corev1.Secret, proof acceptance) error {
	if proof.revision != pki.Revision(secret.Data) {
		return fmt.Errorf("writing Secret %s: %w", secret.Name, errUnproven)
	}
	old := v.Material[secret.Name]
	switch {
	case old == nil:
		return create(ctx, v, secret)
	case old.Immutable == nil || !*old.Immutable:
		return update(ctx, v, old, secret)
	case !old.DeletionTimestamp.IsZero():
		return &Error{Cause: HeldImmutable, Fact: fmt.Sprintf("Secret %s is immutable and being deleted, and the finalizers %q hold it", secret.Name, old.Finalizers),
			Remedy: "have the programs that these finalizers are of let go of it"}
	}
	if err := v.Applier.Delete(ctx, old); err != nil {
		return err
	}
	return ErrLookAgain // and made anew
}

// update leaves to others the labels, annotations and finalizers that are theirs. secret becomes what is stored.
func update(ctx context.Context, v *round, old, secret *corev1.Secret) error {
	next := old.DeepCopy()
	next.Data = secret.Data
	for key, value := range secret.Labels {
		metav1.SetMetaDataLabel(&next.ObjectMeta, key, value)
	}
	for key, value := range secret.Annotations {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, key, value)
	}
	if err := v.Applier.Permit(ctx, secret.Namespace); err != nil {
		return err
	}
	if err := v.Client.Update(ctx, next, v.Applier.Owner); err != nil {
		return fmt.Errorf("writing Secret %s: %w", secret.Name, err)
	}
	v.Written.note(next)
	*secret = *next
	return nil
}

func create(ctx context.Context, v *round, secret *corev1.Secret) error {
	if err := v.Applier.Permit(ctx, secret.Namespace); err != nil {
		return err
	}
	err := v.Client.Create(ctx, secret, v.Applier.Owner)
	if apierrors.IsAlreadyExists(err) {
		return exists(ctx, v, secret, err)
	}
	if err != nil {
		return fmt.Errorf("creating Secret %s: %w", secret.Name, err)
	}
	v.Written.note(secret)
	if !metav1.IsControlledBy(secret, v.Cluster) {
		return fmt.Errorf("creating Secret %s: it came back without its owner", secret.Name)
	}
	return nil
}

// exists says whose a Secret is in whose place another one was to be made. Nothing is done to it here: one that belongs to the
// cluster is seen at the next look.
func exists(ctx context.Context, v *round, secret *corev1.Secret, err error) error {
	var live corev1.Secret
	if err := v.Client.Get(ctx, client.ObjectKeyFromObject(secret), &live); err != nil {
		return fmt.Errorf("looking at Secret %s, which exists already: %w", secret.Name, err)
	}
	verdict := kube.Judge(&live, v.Claimant())
	if verdict.Belongs() {
		return fmt.Errorf("creating Secret %s: %w", secret.Name, err)
	}
	return &kube.OwnershipError{Object: kube.Object{Kind: "Secret", Namespace: live.Namespace, Name: live.Name}, Verdict: verdict}
}

// metadata are the annotations of a Secret, to be added to.
func metadata(secret *corev1.Secret) map[string]string {
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	return secret.Annotations
}

// RemoveFinalizer lets go of the Secret of an authority. One that is gone is no error.
func (x *Executor) RemoveFinalizer(ctx context.Context, secret *corev1.Secret) error {
	base := secret.DeepCopy()
	if !controllerutil.RemoveFinalizer(secret, material.AuthorityFinalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := x.Client.Patch(ctx, secret, patch, x.Applier.Owner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("releasing Secret %s: %w", secret.Name, err)
	}
	return nil
}
