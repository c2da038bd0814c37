package tls

import (
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/delivery/kube"
)

// wished passes the changes of a cluster that say what is wanted of it. Its status says nothing that is not known already, and a
// write of it must wake no reconciliation.
func wished() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.LabelChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
		},
	})
}

// seen tells what the cache has come to hold of a cluster, and passes everything.
func seen(writes *kube.Writes) predicate.Predicate {
	tell := func(object client.Object, gone bool) bool {
		if cluster, ok := clusterOf(object); ok {
			writes.Seen(cluster, object, gone)
		}
		return true
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return tell(e.Object, false) },
		UpdateFunc: func(e event.UpdateEvent) bool { return tell(e.ObjectNew, false) },
		DeleteFunc: func(e event.DeleteEvent) bool { return tell(e.Object, true) },
	}
}

// byOthers passes what others have done to a Secret.
func byOthers(written *act.Written) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !written.Own(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return !written.Own(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool {
			written.Gone(e.Object)
			return true
		},
	}
}
