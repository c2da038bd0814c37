package cluster

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// A teller records events about a cluster.
type teller struct {
	recorder events.EventRecorder
	cluster  *v1beta1.PostgresCluster
}

// tell records an event of something that was done. about is the second object that it concerns, or nil.
func (t teller) tell(about runtime.Object, reason decide.Reason, action, format string, args ...any) {
	t.recorder.Eventf(t.cluster, about, corev1.EventTypeNormal, string(reason), action, "%s", fmt.Sprintf(format, args...))
}

func (t teller) warn(reason decide.Reason, action, message string) {
	t.recorder.Eventf(t.cluster, nil, corev1.EventTypeWarning, string(reason), action, "%s", message)
}

// tookBack tells of an object that the cluster controls again.
func (t teller) tookBack(_ context.Context, object kube.Object, verdict kube.Verdict) {
	if object.Kind == "ConfigMap" && slices.Contains(desired.PatroniConfigMaps(t.cluster.Name), object.Name) {
		return // Patroni makes them without an owner in every cluster
	}
	t.tell(nil, decide.Reason(verdict.Reason()), "TakeBack", "%s", verdict.Message(object.String()))
}
