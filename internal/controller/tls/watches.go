package tls

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/tls/act"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
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

// seenOfOthers tells the same, and passes what is not known of an own write already.
func seenOfOthers(writes *kube.Writes) predicate.Predicate {
	told := seen(writes)
	news := func(object client.Object) bool {
		cluster, ok := clusterOf(object)
		return !ok || !writes.IsOwn(cluster, object)
	}
	return predicate.Funcs{ // what is told is forgotten: ask first
		CreateFunc: func(e event.CreateEvent) bool {
			isNews := news(e.Object)
			return told.Create(e) && isNews
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			isNews := news(e.ObjectNew)
			return told.Update(e) && isNews
		},
		DeleteFunc: told.Delete,
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

// read passes the objects that an observation may hold: neither what the cluster controller makes for another component, such as the Secret
// of a user, nor what Patroni writes with each of its loops. An object of which the labels were changed was or is one of them.
func read() predicate.Predicate {
	return either(func(object client.Object) bool {
		labels := object.GetLabels()
		component := labels[desired.ComponentLabel]
		return labels[desired.PatroniLabel] == "" && (component == "" || component == desired.TLSComponent)
	})
}

// configured passes the first configuration of a cluster's instances: a new party waits for its Services from then on.
func configured() predicate.Predicate {
	none := func(client.Object) bool { return false }
	passes := either(none)
	passes.CreateFunc = func(e event.CreateEvent) bool {
		return e.Object.GetName() == desired.ConfigName(e.Object.GetLabels()[desired.ClusterLabel])
	}
	return passes
}

// addressed passes the Services that have an address of their own, which leaves name: all but the headless one of the instances' pods.
func addressed() predicate.Predicate {
	return either(func(object client.Object) bool {
		return object.GetName() != desired.PodService(object.GetLabels()[desired.ClusterLabel])
	})
}

// either passes an event of which the object is wanted as it is, or was before.
func either(wanted func(client.Object) bool) predicate.Funcs {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return wanted(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return wanted(e.ObjectNew) || wanted(e.ObjectOld) },
		DeleteFunc: func(e event.DeleteEvent) bool { return wanted(e.Object) },
	}
}

// podChanges leaves out an update of a pod that changes nothing but annotations of others: Patroni writes its state there with each of its loops.
func podChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(*corev1.Pod)
		after, okAfter := e.ObjectNew.(*corev1.Pod)
		return !okBefore || !okAfter || !equality.Semantic.DeepEqual(withoutTheirs(before), withoutTheirs(after))
	}}
}

// withoutTheirs is a pod without the version and without annotations of others. It shares everything else.
func withoutTheirs(pod *corev1.Pod) *corev1.Pod {
	copied := *pod
	copied.ResourceVersion, copied.ManagedFields, copied.Annotations = "", nil, map[string]string{}
	for key, value := range pod.Annotations {
		if strings.HasPrefix(key, v1beta1.GroupVersion.Group+"/") {
			copied.Annotations[key] = value
		}
	}
	return &copied
}
