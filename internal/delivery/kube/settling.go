package kube

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// SettlingTime is how long a new object waits for others that are made with it: the objects of one cluster come one after another, and one
// reconciliation is to see them all.
const SettlingTime = 100 * time.Millisecond

// Settling is a handler whose requests for an object that was made a moment ago come after SettlingTime. All others come at once.
func Settling(inner handler.EventHandler) handler.EventHandler { return settling{inner} }

type settling struct{ handler.EventHandler }

// Create handles an object that is new to the cache.
func (s settling) Create(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	if !e.IsInInitialList {
		q = later{q}
	}
	s.EventHandler.Create(ctx, e, q)
}

// later is a queue to which requests are added after a pause.
type later struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// Add adds a request after the pause.
func (q later) Add(request reconcile.Request) { q.AddAfter(request, SettlingTime) }
