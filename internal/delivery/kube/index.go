package kube

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ClusterIndex is the name of a cache's index by the label that says whose an object is. A selection by label alone looks at every object
// of a namespace, so that the work for one cluster would grow with the number of its neighbours.
const ClusterIndex = "pgtls.cluster"

// IndexByCluster adds the index for kinds of objects to a cache; label is the key of the label. Each kind may be given once.
func IndexByCluster(ctx context.Context, indexer client.FieldIndexer, label string, kinds ...client.Object) error {
	for _, kind := range kinds {
		if err := indexer.IndexField(ctx, kind, ClusterIndex, LabelValue(label)); err != nil {
			return fmt.Errorf("indexing %T by cluster: %w", kind, err)
		}
	}
	return nil
}

// LabelValue is what ClusterIndex holds of an object.
func LabelValue(label string) client.IndexerFunc {
	return func(object client.Object) []string {
		if value := object.GetLabels()[label]; value != "" {
			return []string{value}
		}
		return nil
	}
}
