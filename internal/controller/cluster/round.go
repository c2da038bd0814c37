package cluster

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/delivery/kube"
	"pgtls.dev/pgtls/internal/desired"
)

// A round is one reconciliation: what its steps look at and act through.
type round struct {
	cluster  *v1beta1.PostgresCluster
	settings desired.Settings
	applier  *kube.Applier
	events   events.EventRecorder
	random   io.Reader
	connect  connector
	restarts *restarts

	facts   facts
	refused map[string]bool // objects that are not the cluster's, by objectName
	ha      *haView         // asked for once in a round; see patroni
	acted   bool            // an instance was acted on, which is enough for one round
}

// apply applies the objects one by one. An object that is not the cluster's is waited for, and the rest goes on.
func (r *round) apply(ctx context.Context, objects ...client.Object) ([]Wait, error) {
	var waits []Wait
	for _, object := range objects {
		_, err := r.applier.Apply(ctx, object)
		if notOurs, ok := kube.AsOwnership(err); ok {
			waits = append(waits, r.refuse(notOurs))
			continue
		}
		if err != nil {
			return waits, err
		}
	}
	return waits, nil
}

func (r *round) refuse(notOurs *kube.OwnershipError) Wait {
	party := objectName(notOurs.Kind, notOurs.Name)
	r.refused[party] = true
	return Wait{Party: party, Reason: Reason(notOurs.Verdict.Reason()), Message: notOurs.Error(), Again: later}
}

func objectName(kind, name string) string { return kind + " " + name }

// tell records an event of something that was done. about is the second object that it concerns, or nil.
func (r *round) tell(about runtime.Object, reason Reason, action, format string, args ...any) {
	r.events.Eventf(r.cluster, about, corev1.EventTypeNormal, string(reason), action, "%s", fmt.Sprintf(format, args...))
}

func (r *round) warn(reason Reason, action, message string) {
	r.events.Eventf(r.cluster, nil, corev1.EventTypeWarning, string(reason), action, "%s", message)
}
