package kube

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"pgtls.dev/pgtls/api/v1beta1"
)

// ApplyStatus makes this owner's part of the cluster's status what status says, and tells whether that took a
// write. Its part are the conditions in it and the named members of .status (JSON names); what is live in those
// members and not in status goes, and so do those of its Conditions. cluster is the live object, and is left as it is.
//
// Each condition comes with the present time as LastTransitionTime; one whose status
// is as before keeps its old time. ObservedGeneration is up to the caller.
func (a *Applier) ApplyStatus(ctx context.Context, cluster *v1beta1.PostgresCluster, status v1beta1.PostgresClusterStatus, members ...string) (changed bool, err error) {
	status.Conditions = keepTransitionTimes(cluster.Status.Conditions, status.Conditions)
	desired, err := statusMap(&status)
	if err != nil {
		return false, err
	}
	live, err := statusMap(&cluster.Status)
	if err != nil {
		return false, err
	}
	desired = pick(desired, append([]string{"conditions"}, members...))
	if statusInForce(live, desired, members) && !a.hasGone(cluster.Status.Conditions, status.Conditions) {
		return false, nil
	}
	if err := a.Permit(ctx, cluster.Namespace); err != nil {
		return false, err
	}
	return true, a.writeStatus(ctx, cluster, desired)
}

// hasGone reports whether a condition of this owner's is live and not desired: it differs in nothing else.
func (a *Applier) hasGone(live, desired []metav1.Condition) bool {
	return slices.ContainsFunc(live, func(c metav1.Condition) bool {
		return slices.Contains(a.Conditions, c.Type) &&
			!slices.ContainsFunc(desired, func(d metav1.Condition) bool { return d.Type == c.Type })
	})
}

func (a *Applier) writeStatus(ctx context.Context, cluster *v1beta1.PostgresCluster, status map[string]any) error {
	gvk, err := apiutil.GVKForObject(cluster, a.Client.Scheme())
	if err != nil {
		return fmt.Errorf("naming the kind of %s: %w", cluster.Name, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(cluster.Namespace)
	u.SetName(cluster.Name)
	u.SetUID(cluster.UID)
	apply := client.ApplyConfigurationFromUnstructured(u)
	if err := a.Client.Status().Apply(ctx, apply, a.Owner, client.ForceOwnership); err != nil {
		return fmt.Errorf("applying status of %s: %w", client.ObjectKeyFromObject(cluster), err)
	}
	return nil
}

func keepTransitionTimes(live, desired []metav1.Condition) []metav1.Condition {
	kept := make([]metav1.Condition, len(desired))
	for i, condition := range desired {
		for _, before := range live {
			if before.Type == condition.Type && before.Status == condition.Status {
				condition.LastTransitionTime = before.LastTransitionTime
			}
		}
		kept[i] = condition
	}
	return kept
}

func statusMap(status *v1beta1.PostgresClusterStatus) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("converting a status: %w", err)
	}
	dropNulls(content)
	return content, nil
}

func pick(from map[string]any, members []string) map[string]any {
	picked := map[string]any{}
	for _, name := range members {
		if value, ok := from[name]; ok {
			picked[name] = value
		}
	}
	return picked
}

// statusInForce compares the members as a whole, because no other client writes them,
// and the conditions by type, for there are those of other owners.
func statusInForce(live, desired map[string]any, members []string) bool {
	return covers(pick(live, []string{"conditions"}), pick(desired, []string{"conditions"})) &&
		reflect.DeepEqual(pick(live, members), pick(desired, members))
}
