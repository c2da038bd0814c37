package cluster

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteControlled deletes those of the objects that exist and that the cluster controls. It reports whether none is left.
func (r *round) deleteControlled(ctx context.Context, objects ...client.Object) (gone bool, err error) {
	gone = true
	for _, object := range objects {
		err := r.applier.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("reading %T %s: %w", object, object.GetName(), err)
		}
		gone = (r.remove(ctx, object) || !metav1.IsControlledBy(object, r.cluster)) && gone
	}
	return gone, nil
}
