package cluster

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteControlled deletes those of the objects that exist and that the cluster controls.
func (r *round) deleteControlled(ctx context.Context, objects ...client.Object) error {
	for _, object := range objects {
		err := r.applier.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %T %s: %w", object, object.GetName(), err)
		}
		if !metav1.IsControlledBy(object, r.cluster) || object.GetDeletionTimestamp() != nil {
			continue
		}
		if err := r.applier.Delete(ctx, object); err != nil {
			return err
		}
	}
	return nil
}
